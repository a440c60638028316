use countersign::{ApiKey, BearerToken, SecurityLevel as Ours};
use grpc::attributes::Attributes;
use grpc::credentials::call::CallCredentials as Theirs;

use super::*;

const SERVICE: &str = "https://orders.example/orders.v1.Orders";

/// Credentials that note whether they were asked, and do as they are told.
#[derive(Debug, Default)]
struct Told {
    need: Option<Ours>,
    fails: Option<CallCredentialsErrorKind>,
    waits: bool,
    asked: std::sync::atomic::AtomicUsize,
}

#[async_trait]
impl CallCredentials for Told {
    async fn get_metadata(
        &self,
        call: &countersign::credentials::CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        self.add(call, security, metadata)
    }

    fn get_metadata_now(
        &self,
        call: &countersign::credentials::CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        match self.waits {
            true => Ok(false),
            false => self.add(call, security, metadata).map(|()| true),
        }
    }

    fn minimum_channel_security_level(&self) -> Ours {
        self.need.unwrap_or(Ours::PrivacyAndIntegrity)
    }
}

impl Told {
    fn add(
        &self,
        call: &countersign::credentials::CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some(kind) = self.fails {
            return Err(CallCredentialsError::new(kind, "the words for it"));
        }
        let seen = format!("{} {}", call.authority(), security.security_protocol());
        metadata.insert("seen", &seen)?;
        metadata.insert_bin("seen-bin", &[0, 1, 255])?;
        Ok(())
    }

    fn count(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::Relaxed)
    }
}

async fn ask(
    credentials: &impl Theirs,
    level: SecurityLevel,
    metadata: &mut MetadataMap,
) -> Result<(), StatusError> {
    let call = CallDetails::new(SERVICE, "Get");
    let security = ClientConnectionSecurityInfo::new("tls", level, Attributes::new());
    credentials.get_metadata(&call, &security, metadata).await
}

async fn asked(credentials: &impl Theirs) -> Result<MetadataMap, StatusError> {
    let mut metadata = MetadataMap::new();
    ask(credentials, SecurityLevel::PrivacyAndIntegrity, &mut metadata).await?;
    Ok(metadata)
}

#[tokio::test]
async fn what_credentials_add_arrives_at_once_or_after_a_while() {
    for waits in [false, true] {
        let metadata = asked(&ForGrpc::new(Told { waits, ..Told::default() })).await;
        let metadata = metadata.expect("added");
        assert_eq!(metadata.get("seen").expect("an entry"), "orders.example tls");
        let value = metadata.get("seen").expect("an entry");
        assert!(value.is_sensitive());
        assert_eq!(metadata.get_bin("seen-bin").expect("an entry"), [0, 1, 255].as_slice());
        assert_eq!(metadata.len(), 2);
    }
}

#[tokio::test]
async fn below_their_level_credentials_are_not_even_asked() {
    use SecurityLevel::{IntegrityOnly, NoSecurity, PrivacyAndIntegrity};
    for (need, have, goes) in [
        (Ours::PrivacyAndIntegrity, PrivacyAndIntegrity, true),
        (Ours::PrivacyAndIntegrity, IntegrityOnly, false),
        (Ours::PrivacyAndIntegrity, NoSecurity, false),
        (Ours::IntegrityOnly, IntegrityOnly, true),
        (Ours::IntegrityOnly, NoSecurity, false),
        (Ours::NoSecurity, NoSecurity, true),
    ] {
        let told = Arc::new(Told { need: Some(need), ..Told::default() });
        let mut metadata = MetadataMap::new();
        let done = ask(&ForGrpc::new(Arc::clone(&told)), have, &mut metadata).await;
        assert_eq!((done.is_ok(), told.count()), (goes, usize::from(goes)), "{need} {have:?}");
        if let Err(status) = done {
            assert_eq!(status.code(), StatusCodeError::Unauthenticated);
            assert!(metadata.is_empty());
        }
    }
}

#[test]
fn their_transport_is_told_what_is_needed() {
    for (need, theirs) in [
        (Ours::NoSecurity, SecurityLevel::NoSecurity),
        (Ours::IntegrityOnly, SecurityLevel::IntegrityOnly),
        (Ours::PrivacyAndIntegrity, SecurityLevel::PrivacyAndIntegrity),
    ] {
        let adapted = ForGrpc::new(Told { need: Some(need), ..Told::default() });
        assert_eq!(adapted.minimum_channel_security_level(), theirs);
    }
}

#[tokio::test]
async fn a_failure_says_whether_it_may_pass() {
    use CallCredentialsErrorKind::{Code, Permanent, Transient};
    for (kind, code) in [
        (Transient, StatusCodeError::Unavailable),
        (Permanent, StatusCodeError::Unauthenticated),
        (Code(7), StatusCodeError::PermissionDenied),
        (Code(0), StatusCodeError::Internal),
        (Code(99), StatusCodeError::Unknown),
    ] {
        let told = Told { fails: Some(kind), ..Told::default() };
        let status = asked(&ForGrpc::new(told)).await.expect_err("a failure");
        assert_eq!((status.code(), status.message()), (code, "the words for it"), "{kind:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_there_is_not_written_again() {
    let token = || ForGrpc::new(BearerToken::new("ours").expect("a token"));
    let mut metadata = MetadataMap::new();
    let level = SecurityLevel::PrivacyAndIntegrity;
    ask(&token(), level, &mut metadata).await.expect("the first");
    let status = ask(&token(), level, &mut metadata).await.expect_err("the second");
    assert_eq!(status.code(), StatusCodeError::Internal);
    assert!(status.message().contains("\"authorization\""), "{}", status.message());
    assert!(!status.message().contains("ours"), "{}", status.message());
    let key = ForGrpc::new(ApiKey::new("k").expect("a key"));
    ask(&key, level, &mut metadata).await.expect("another key");
    assert_eq!(metadata.get("authorization").expect("an entry"), "Bearer ours");
    assert_eq!(metadata.len(), 2);
}

#[test]
fn debug_shows_no_secret() {
    let adapted = ForGrpc::new(BearerToken::new("hunter2").expect("a token"));
    assert_eq!(format!("{adapted:?}"), "ForGrpc { credentials: BearerToken(..) }");
}
