use countersign::connect;

async fn silently_plaintext() {
    // IN-02: there is no default.
    let _ = connect("http://localhost:50051").await;
}

fn main() {}
