//! The book's recipes, with tokens of the shape that each provider issues.

use countersign::authentication::jwt::{KeySet, KeySource, Profile};
use countersign::identity::ClaimNames;
use countersign::{Issuer, Jwt, ServerRequestExt, danger};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::issuer::TokenMint;
use serde_json::{Map, Value, json};

use crate::stage::{Told, at_noon, behind, build, gate};
use crate::support::RawClient;

/// A provider as the book has it, but for its keys.
struct Recipe {
    name: &'static str,
    issuer: &'static str,
    build: fn(&'static str, KeySource) -> Issuer,
    claims: Value,
    /// Principal, client and scopes.
    caller: (&'static str, Option<&'static str>, &'static [&'static str]),
    /// What makes it a token that the recipe warns of.
    refused: &'static [Refused],
}

/// Which token, what is different about it, and what its caller is told.
type Refused = (&'static str, fn(&mut Map<String, Value>), &'static str);

const KUBERNETES: &str = "https://kubernetes.default.svc.cluster.local";
const TENANT: &str = "https://login.microsoftonline.com/7d3f/v2.0";
const INVALID: &str = "Unauthenticated TOKEN_INVALID";
const AUDIENCE: &str = "Unauthenticated TOKEN_AUDIENCE";

fn set(claims: &mut Map<String, Value>, name: &str, value: Value) {
    claims.insert(name.to_owned(), value);
}

fn recipes() -> Vec<Recipe> {
    vec![
        Recipe {
            name: "Keycloak",
            issuer: "https://kc.example/realms/acme",
            build: |issuer, keys| Jwt::issuer(issuer).keys(keys).audience("orders"),
            claims: json!({
                "sub": "1f2e", "aud": ["orders", "account"], "typ": "Bearer", "azp": "web",
                "scope": "openid profile", "realm_access": { "roles": ["clerk"] },
            }),
            caller: ("https://kc.example/realms/acme#1f2e", Some("web"), &["openid", "profile"]),
            refused: &[
                ("an ID token", |claims| set(claims, "typ", json!("ID")), INVALID),
                ("a refresh token", |claims| set(claims, "typ", json!("Refresh")), INVALID),
                ("no mapper", |claims| set(claims, "aud", json!("account")), AUDIENCE),
                (
                    "another realm",
                    |claims| set(claims, "iss", json!("https://kc.example/realms/globex")),
                    INVALID,
                ),
            ],
        },
        Recipe {
            name: "Entra ID",
            issuer: TENANT,
            build: |issuer, keys| {
                Jwt::issuer(issuer)
                    .keys(keys)
                    .audience("api")
                    .claim_names(ClaimNames { subject: "oid".into(), ..ClaimNames::default() })
                    .required_claim("tid")
            },
            claims: json!({
                "sub": "pairwise", "oid": "5c1a", "tid": "7d3f", "aud": "api", "azp": "web",
                "scp": "Orders.Read", "ver": "2.0",
            }),
            caller: (
                "https://login.microsoftonline.com/7d3f/v2.0#5c1a",
                Some("web"),
                &["Orders.Read"],
            ),
            refused: &[
                (
                    "version 1",
                    |claims| set(claims, "iss", json!("https://sts.windows.net/7d3f/")),
                    INVALID,
                ),
                ("for Graph", |claims| set(claims, "aud", json!("00000003")), AUDIENCE),
                ("no object", |claims| drop(claims.remove("oid")), INVALID),
            ],
        },
        Recipe {
            name: "Auth0",
            issuer: "https://acme.eu.auth0.com/",
            build: |issuer, keys| Jwt::issuer(issuer).keys(keys).audience("https://orders.example"),
            claims: json!({
                "sub": "auth0|5f7c", "azp": "web", "scope": "openid orders:read",
                "aud": ["https://orders.example", "https://acme.eu.auth0.com/userinfo"],
            }),
            caller: (
                "https://acme.eu.auth0.com/#auth0|5f7c",
                Some("web"),
                &["openid", "orders:read"],
            ),
            refused: &[(
                "no slash",
                |claims| set(claims, "iss", json!("https://acme.eu.auth0.com")),
                INVALID,
            )],
        },
        Recipe {
            name: "Okta",
            issuer: "https://acme.okta.com/oauth2/default",
            build: |issuer, keys| {
                Jwt::issuer(issuer)
                    .keys(keys)
                    .audience("api://default")
                    .claim_names(ClaimNames { client: Some("cid".into()), ..ClaimNames::default() })
            },
            claims: json!({
                "sub": "alice@acme.example", "aud": "api://default", "cid": "0oa1", "uid": "00u1",
                "scp": ["openid", "orders:read"],
            }),
            caller: (
                "https://acme.okta.com/oauth2/default#alice@acme.example",
                Some("0oa1"),
                &["openid", "orders:read"],
            ),
            refused: &[(
                "the organization's own",
                |claims| set(claims, "iss", json!("https://acme.okta.com")),
                INVALID,
            )],
        },
        Recipe {
            name: "Google, services",
            issuer: "https://accounts.google.com",
            build: |issuer, keys| {
                Jwt::issuer(issuer)
                    .keys(keys)
                    .audience("https://orders.example")
                    .required_claim("email")
            },
            claims: json!({
                "sub": "1042", "azp": "1042", "aud": "https://orders.example",
                "email": "ci@acme.iam.gserviceaccount.com", "email_verified": true,
            }),
            caller: ("https://accounts.google.com#1042", Some("1042"), &[]),
            refused: &[
                ("a person's", |claims| set(claims, "at_hash", json!("x")), INVALID),
                ("no email", |claims| drop(claims.remove("email")), INVALID),
            ],
        },
        Recipe {
            name: "Google, people",
            issuer: "https://accounts.google.com",
            build: |issuer, keys| {
                Jwt::issuer(issuer)
                    .keys(keys)
                    .audience("web.apps.googleusercontent.com")
                    .profile(Profile::IdToken)
            },
            claims: json!({
                "sub": "1099", "azp": "web.apps.googleusercontent.com",
                "aud": "web.apps.googleusercontent.com", "at_hash": "x", "nonce": "n",
            }),
            caller: (
                "https://accounts.google.com#1099",
                Some("web.apps.googleusercontent.com"),
                &[],
            ),
            refused: &[("a service's", |claims| set(claims, "azp", json!("1042")), INVALID)],
        },
        Recipe {
            name: "Cognito",
            issuer: "https://cognito-idp.eu-central-1.amazonaws.com/pool",
            build: |issuer, keys| {
                danger::any_audience(Jwt::issuer(issuer).keys(keys)).required_claim("client_id")
            },
            claims: json!({
                "sub": "aaaa", "client_id": "web", "token_use": "access", "scope": "orders/read",
                "aud": null,
            }),
            caller: (
                "https://cognito-idp.eu-central-1.amazonaws.com/pool#aaaa",
                Some("web"),
                &["orders/read"],
            ),
            refused: &[(
                "an ID token",
                |claims| {
                    claims.remove("client_id");
                    set(claims, "aud", json!("web"));
                    set(claims, "token_use", json!("id"));
                },
                INVALID,
            )],
        },
        Recipe {
            name: "Kubernetes",
            issuer: KUBERNETES,
            build: |issuer, keys| {
                Jwt::issuer(issuer)
                    .keys(keys)
                    .audience("orders")
                    .profile(Profile::K8sServiceAccount)
            },
            claims: json!({
                "sub": "system:serviceaccount:prod:ci", "aud": ["orders"],
                "kubernetes.io": {
                    "namespace": "prod",
                    "serviceaccount": { "name": "ci", "uid": "u" },
                    "pod": { "name": "ci-1", "uid": "p" },
                },
            }),
            caller: ("prod/ci", None, &[]),
            refused: &[
                ("every pod's", |claims| set(claims, "aud", json!([KUBERNETES])), AUDIENCE),
                ("without end", |claims| drop(claims.remove("exp")), INVALID),
                (
                    "of two minds",
                    |claims| set(claims, "sub", json!("system:serviceaccount:prod:admin")),
                    INVALID,
                ),
            ],
        },
        Recipe {
            name: "GitHub Actions",
            issuer: "https://token.actions.githubusercontent.com",
            build: |issuer, keys| {
                Jwt::issuer(issuer)
                    .keys(keys)
                    .audience("orders.example")
                    .required_claim("repository_id")
            },
            claims: json!({
                "sub": "repo:acme/orders:ref:refs/heads/main", "aud": "orders.example",
                "repository": "acme/orders", "repository_id": "74", "jti": "1",
            }),
            caller: (
                "https://token.actions.githubusercontent.com#repo:acme/orders:ref:refs/heads/main",
                None,
                &[],
            ),
            refused: &[(
                "the default audience",
                |claims| set(claims, "aud", json!("https://github.com/acme")),
                AUDIENCE,
            )],
        },
    ]
}

#[tokio::test]
async fn each_recipe_takes_its_providers_tokens_and_refuses_what_it_warns_of() {
    for Recipe { name, issuer, build: recipe, claims, caller, refused } in recipes() {
        let mint = TokenMint::new(issuer);
        let keys = KeySet::from_json(&mint.jwks().to_string()).expect("a key set");
        let trusted = recipe(issuer, KeySource::given(keys));
        let jwt = build(Jwt::builder().issuer(trusted).clock(at_noon()));
        let (server, reached) = behind(gate(jwt)).await;
        let mut client = RawClient::connect(&server).await;
        let mut all = mint.claims_at(crate::stage::noon(), "", "");
        let all = all.as_object_mut().expect("an object");
        all.extend(claims.as_object().expect("an object").clone());
        all.retain(|_, value| !value.is_null());

        let good = mint.mint(&Value::Object(all.clone()));
        let value = format!("Bearer {good}");
        let told = Told::by(&client.call(SAY_HELLO, &[("authorization", &value)]).await);
        assert_eq!(told.short(), "passes", "{name}");
        let request = reached.last_request();
        let principal = request.principal().expect("a caller");
        let token = principal.token().expect("a token");
        let scopes: Vec<&str> = token.scopes().iter().map(String::as_str).collect();
        assert_eq!((principal.name(), token.client(), &scopes[..]), caller, "{name}");

        for (which, change, expected) in refused {
            let mut other = all.clone();
            change(&mut other);
            let value = format!("Bearer {}", mint.mint(&Value::Object(other)));
            let told = Told::by(&client.call(SAY_HELLO, &[("authorization", &value)]).await);
            assert_eq!(told.short(), *expected, "{name}: {which}");
        }
    }
}
