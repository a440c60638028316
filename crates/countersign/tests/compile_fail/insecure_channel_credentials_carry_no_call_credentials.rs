use countersign::{BearerToken, ChannelCredentials};

fn main() {
    let token = || BearerToken::from_file("token");
    // These may.
    let _ = ChannelCredentials::local().with_call_credentials(token());
    // These may not.
    let _ = ChannelCredentials::insecure().with_call_credentials(token());
}
