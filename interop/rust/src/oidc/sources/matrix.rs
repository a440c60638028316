//! Every source before every verifier: what is right is let in under its name, and its twins,
//! which differ in one thing, are not.

use std::time::Duration;

use countersign::authentication::jwt::Profile;
use countersign::credentials::oauth::ClientAuthentication;
use countersign::{Introspection, Jwt};
use countersign_testkit::greeter::TestServer;

use super::source::{Prover, Source, Subject};
use crate::grpc_go::GrpcGo;
use crate::world::{Failure, Outcome, World, hello};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verifier {
    OurGateByKeys,
    OurGateByIntrospection,
    GrpcGo,
}

/// How a call differs from the one that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twin {
    None,
    OtherAudience,
    OtherCertificate,
    NoCertificate,
    OtherKey,
}

struct Servers {
    by_keys: TestServer,
    by_introspection: TestServer,
    grpc_go: GrpcGo,
}

pub(super) async fn matrix(world: World) -> Outcome {
    let servers = Servers::start(&world).await?;
    let mut wrong = Vec::new();
    let heads = Verifier::ALL.map(|it| format!("{:<26}", it.name())).concat();
    println!("{:<50}{}", "", heads.trim_end());
    for source in Source::ALL {
        let mut line = format!("{:<50}", source.name());
        for verifier in Verifier::ALL {
            let cell = cell(&world, &servers, source, verifier, &mut wrong).await?;
            line.push_str(&format!("{cell:<26}"));
        }
        println!("{}", line.trim_end());
    }
    println!(
        "refused are tokens for another audience; bound ones also over another certificate or"
    );
    println!("none, or with proofs of another key. grpc-go has no DPoP, and refuses such tokens.");
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n      ").into()),
    }
}

/// Makes the right call and its twins, and sums them up.
async fn cell(
    world: &World,
    servers: &Servers,
    source: Source,
    verifier: Verifier,
    wrong: &mut Vec<String>,
) -> Result<String, Failure> {
    let (mut verdict, mut refused, mut bad) = ("", 0, 0);
    for twin in Twin::of(source) {
        let told = call(world, servers, source, verifier, twin).await?;
        let wanted = wanted(world, source, verifier, twin);
        if told != wanted {
            bad += 1;
            let (source, verifier) = (source.name(), verifier.name());
            let what = format!("{source}, {verifier}, {twin:?}");
            wrong.push(format!("{what}: wanted `{wanted}`, found `{told}`"));
        }
        match twin {
            Twin::None if told.starts_with("Unauthenticated") => verdict = "refused",
            Twin::None => verdict = "accepted",
            _ => refused += 1,
        }
    }
    Ok(match bad {
        0 => format!("{verdict}, {refused} refused"),
        _ => format!("! {bad} not as expected"),
    })
}

async fn call(
    world: &World,
    servers: &Servers,
    source: Source,
    verifier: Verifier,
    twin: Twin,
) -> Result<String, Failure> {
    let mut resource = match verifier {
        Verifier::OurGateByIntrospection => "https://orders.test/opaque".to_owned(),
        Verifier::OurGateByKeys | Verifier::GrpcGo => "https://orders.test/jwt".to_owned(),
    };
    if twin == Twin::OtherAudience {
        resource.push_str("/billing");
    }
    let prover = match twin {
        Twin::OtherKey => Prover::Thief,
        _ => Prover::Holder,
    };
    let identity = match twin {
        Twin::OtherCertificate => Some("other-client"),
        Twin::NoCertificate => None,
        _ => source.is_bound_to_certificate().then_some("client"),
    };
    let credentials = source.credentials(world, &resource, prover).await?;
    let identity = identity.map(|name| world.identity(name));
    let channel = world.connect_with(&servers.target(verifier), identity, credentials).await?;
    Ok(hello(&channel).await)
}

/// Whom the handler sees, or what the caller is told.
fn wanted(world: &World, source: Source, verifier: Verifier, twin: Twin) -> String {
    let issuer = &world.provider.issuer;
    if verifier == Verifier::GrpcGo {
        return match source.subject() {
            // It gives no reasons.
            _ if twin != Twin::None || source.is_bound_to_key() => "Unauthenticated ".to_owned(),
            Subject::Client(name) | Subject::User(name) => name.to_owned(),
        };
    }
    match (twin, source.subject()) {
        (Twin::OtherAudience, _) => "Unauthenticated TOKEN_AUDIENCE".to_owned(),
        (Twin::OtherCertificate | Twin::OtherKey, _) => "Unauthenticated PROOF_INVALID".to_owned(),
        (Twin::NoCertificate, _) => "Unauthenticated PROOF_REQUIRED".to_owned(),
        // The provider gives opaque tokens of clients no `sub`.
        (Twin::None, Subject::Client(name)) if verifier == Verifier::OurGateByIntrospection => {
            format!("{issuer}#client:{name}")
        }
        (Twin::None, Subject::Client(name) | Subject::User(name)) => format!("{issuer}#{name}"),
    }
}

impl Verifier {
    const ALL: [Self; 3] = [Self::OurGateByKeys, Self::OurGateByIntrospection, Self::GrpcGo];

    fn name(self) -> &'static str {
        match self {
            Self::OurGateByKeys => "our gate, keys",
            Self::OurGateByIntrospection => "our gate, introspection",
            Self::GrpcGo => "grpc-go",
        }
    }
}

impl Twin {
    fn of(source: Source) -> Vec<Self> {
        let mut all = vec![Self::None, Self::OtherAudience];
        if source.is_bound_to_certificate() {
            all.extend([Self::OtherCertificate, Self::NoCertificate]);
        }
        if source.is_bound_to_key() {
            all.push(Self::OtherKey);
        }
        all
    }
}

impl Servers {
    async fn start(world: &World) -> Result<Self, Failure> {
        let issuer = Jwt::issuer(&world.provider.issuer);
        let issuer = issuer.audience("orders").profile(Profile::Rfc9068);
        let jwt = Jwt::builder().issuer(issuer).http_client(world.provider.http()).build()?;
        jwt.warm_up().await;
        let introspection = Introspection::new(&world.provider.introspection_endpoint())
            .authenticated_by(ClientAuthentication::basic("orders:basic", "p%1 +:/=&"))
            .issuer(&world.provider.issuer)
            .http_client(world.provider.http())
            .timeout(Duration::from_secs(30))
            .audience("orders")
            .build()?;
        Ok(Self {
            by_keys: world.serve(jwt).await?,
            by_introspection: world.serve(introspection).await?,
            grpc_go: GrpcGo::start(world).await?,
        })
    }

    fn target(&self, verifier: Verifier) -> String {
        match verifier {
            Verifier::OurGateByKeys => self.by_keys.https("localhost"),
            Verifier::OurGateByIntrospection => self.by_introspection.https("localhost"),
            Verifier::GrpcGo => self.grpc_go.target.clone(),
        }
    }
}
