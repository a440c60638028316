use std::sync::Arc;

use countersign::authentication::EvidenceKinds;
use countersign::authorization::RulesError;
use countersign::{
    AuthContext, Authenticator, Gate, GateBuilder, GateError, MutualTls, Rules, StaticTokens,
};
use countersign_testkit::greeter::SAY_HELLO;

use super::support::RawClient;
use super::{BEARER, behind, gate, tokens};

#[test]
fn a_gate_that_cannot_hold_is_not_built() {
    let builder = || Gate::builder().authenticate(tokens());
    let good = || Rules::new().authenticated_by(SAY_HELLO, [StaticTokens::NAME]);
    let error = |builder: GateBuilder| builder.build().expect_err("refused");

    let twice = error(builder().authenticate(StaticTokens::new()));
    assert_eq!(twice, GateError::DuplicateAuthenticator { name: StaticTokens::NAME.to_owned() });
    let shared = error(builder().authenticate(Arc::new(tokens())));
    assert!(matches!(shared, GateError::DuplicateAuthenticator { .. }));

    let unknown = error(
        builder().authorize(Rules::new().authenticated_by(SAY_HELLO, ["mtls", "static-tokens"])),
    );
    let GateError::Rules(RulesError::UnknownAuthenticator { name, known, .. }) = &unknown else {
        panic!("{unknown}")
    };
    assert_eq!((name.as_str(), known.as_slice()), ("mtls", &["static-tokens".to_owned()][..]));
    let sentence = "the rule for \"/countersign.demo.v1.Greeter/SayHello\" asks for the \
                    authenticator \"mtls\", and the gate has [\"static-tokens\"]";
    assert_eq!(unknown.to_string(), sentence);

    let nobody = error(builder().authorize(Rules::new().authenticated_by(SAY_HELLO, [])));
    assert!(matches!(nobody, GateError::Rules(RulesError::NoAuthenticator { .. })));
    let same = error(builder().authorize(good().public(SAY_HELLO)));
    assert!(matches!(same, GateError::Rules(RulesError::Duplicate { .. })));
    let pattern = error(builder().authorize(good().public("no.Slash/Method")));
    assert!(matches!(pattern, GateError::Rules(RulesError::Pattern(_))));
    for realm in ["a\"b", "a\\b", "a\nb", "ä"] {
        let error = error(builder().realm(realm));
        assert!(matches!(error, GateError::Realm { .. }), "{realm:?}");
    }

    builder().authenticate(MutualTls::new()).authorize(good()).realm("a b").build().expect("good");
}

#[test]
fn an_authenticator_whose_challenge_fits_no_header_is_refused_and_no_panic() {
    #[derive(Debug)]
    struct Odd(&'static str);
    impl Authenticator for Odd {
        fn name(&self) -> &str {
            "odd"
        }
        fn reads(&self) -> EvidenceKinds {
            EvidenceKinds::default()
        }
        fn challenges(&self) -> &[&'static str] {
            std::slice::from_ref(&self.0)
        }
    }
    for scheme in ["", "Be arer", "Bearer\n", "Bearer,Basic", "Bäarer"] {
        let error = Gate::builder().authenticate(Odd(scheme)).build().expect_err(scheme);
        assert!(matches!(error, GateError::Challenge { .. }), "{error}");
    }
    Gate::builder().authenticate(Odd("DPoP")).build().expect("a scheme");
}

#[tokio::test]
async fn the_context_of_a_public_call_names_nobody() {
    let (server, reached) = behind(gate(Rules::new().public(SAY_HELLO))).await;
    RawClient::connect(&server).await.call(SAY_HELLO, &[BEARER]).await;
    let extensions = reached.last().extensions;
    let context = extensions.get::<AuthContext>().expect("a gate");
    assert!(context.caller().is_none() && context.callers().is_empty());
    assert_eq!(context.rule(), SAY_HELLO);
}
