use std::io;
use std::path::Path;

use countersign_testkit::pki::CertificateAuthority;

pub(crate) fn write(dir: &Path) -> io::Result<()> {
    const SERVER: [&str; 3] = ["greeter.test", "localhost", "127.0.0.1"];
    const CLIENT: &str = "spiffe://interop.test/client";
    std::fs::create_dir_all(dir)?;
    let ca = CertificateAuthority::new("interop CA");
    let other = CertificateAuthority::new("other CA");
    let expired =
        SERVER.iter().fold(ca.issue(), |leaf, name| leaf.name(name)).for_server().expired().build();

    std::fs::write(dir.join("ca.pem"), ca.certificate_pem())?;
    std::fs::write(dir.join("other-ca.pem"), other.certificate_pem())?;
    ca.server(&SERVER).write(dir, "server")?;
    expired.write(dir, "expired-server")?;
    ca.client(&[CLIENT]).write(dir, "client")?;
    other.client(&[CLIENT]).write(dir, "other-client")?;
    Ok(())
}
