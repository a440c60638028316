use countersign::{ClientCertificates, RootCertificates};

fn main() {
    let _ = ClientCertificates::required(RootCertificates::from_pem_file("clients-ca.pem"));
    let _ = ClientCertificates::required();
}
