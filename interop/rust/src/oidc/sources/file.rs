//! A token file as a kubelet keeps it, and calls that do not notice that it changes.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use countersign::authentication::jwt::{KeySet, KeySource};
use countersign::credentials::{
    CachedToken, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo, FileToken,
    Rejection,
};
use countersign::{CallCredentials, Clock, Jwt, SystemClock, async_trait};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::issuer::TokenMint;

use crate::world::{Failure, Outcome, Shown, World, expect, hello};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The shortest life of a projected token.
const LIFETIME: Duration = Duration::from_secs(600);
const CALLS: u32 = 5_000;
/// By how much each call moves the clocks of the two ends.
const PER_CALL: Duration = Duration::from_millis(960);
/// These take 480 s, 80 % of a token's life, as the kubelet has it.
const CALLS_PER_ROTATION: u32 = 500;
/// Meanwhile the clocks move by 16 s at most, whatever else the machine has to do: a token that
/// lasts when a call sets off lasts until it arrives.
const UNDER_WAY: usize = 16;

/// A projected volume: `token -> ..data/token`, `..data -> ..<generation>`, and `..data` is
/// exchanged by a rename.
struct Projected {
    folder: PathBuf,
    generation: u64,
}

impl Projected {
    fn new(folder: PathBuf, token: &str) -> Result<Self, Failure> {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        symlink("..data/token", folder.join("token"))?;
        let mut volume = Self { folder, generation: 0 };
        volume.write(token)?;
        Ok(volume)
    }

    fn write(&mut self, token: &str) -> Outcome {
        self.generation += 1;
        let (last, this) = (self.named(self.generation - 1), self.named(self.generation));
        std::fs::create_dir(&this)?;
        std::fs::write(this.join("token"), token)?;
        let link = self.folder.join("..data_tmp");
        symlink(this.file_name().ok_or("no name")?, &link)?;
        std::fs::rename(link, self.folder.join("..data"))?;
        if last.exists() {
            std::fs::remove_dir_all(last)?;
        }
        Ok(())
    }

    fn named(&self, generation: u64) -> PathBuf {
        self.folder.join(format!("..generation-{generation}"))
    }
}

/// Counts the calls that had to wait for their token.
#[derive(Debug)]
struct Watched {
    credentials: CachedToken<FileToken>,
    waits: AtomicU64,
}

#[async_trait]
impl CallCredentials for Watched {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.credentials.get_metadata(call, security, metadata).await
    }

    fn get_metadata_now(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        self.credentials.get_metadata_now(call, security, metadata)
    }

    fn can_replace(&self) -> bool {
        self.credentials.can_replace()
    }

    fn rejected(&self, rejection: &Rejection<'_>) -> bool {
        self.credentials.rejected(rejection)
    }
}

pub(super) async fn rotated_under_load(world: World) -> Outcome {
    let clock = ManualClock::new(SystemClock.now());
    let mint = TokenMint::new(ISSUER);
    let keys = KeySource::given(KeySet::from_json(&mint.jwks().to_string())?);
    let issuer = Jwt::issuer(ISSUER).keys(keys).audience("orders");
    let jwt = Jwt::builder().issuer(issuer).clock(clock.clone()).build()?;
    let server = world.serve(jwt).await?;

    let mint = move |generation: u32, now: SystemTime| -> Result<String, Failure> {
        let subject = format!("generation-{generation}");
        let mut claims = mint.claims_at(now, &subject, "orders");
        let end = (now + LIFETIME).duration_since(SystemTime::UNIX_EPOCH)?;
        claims["exp"] = end.as_secs().into();
        Ok(mint.mint(&claims))
    };
    let first = mint(0, clock.now())?;
    let mut volume = Projected::new(world.file("projected"), &first)?;
    let source = FileToken::jwt(volume.folder.join("token"))?;
    let credentials = CachedToken::builder(source).with_clock(clock.clone()).build();
    let watched =
        Arc::new(Watched { credentials: credentials.clone(), waits: AtomicU64::default() });
    let shared: Arc<dyn CallCredentials> = Arc::clone(&watched) as _;
    let channel = world.connect_with(&server.https("localhost"), None, shared).await?;

    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    let mut under_way = VecDeque::new();
    let mut rotations = 0;
    let began = Instant::now();
    for made in 0..CALLS {
        if made > 0 && made.is_multiple_of(CALLS_PER_ROTATION) {
            rotations += 1;
            volume.write(&mint(rotations, clock.now())?)?;
        }
        clock.advance(PER_CALL);
        let channel = channel.clone();
        under_way.push_back(tokio::spawn(async move { hello(&channel).await }));
        if under_way.len() >= UNDER_WAY
            && let Some(oldest) = under_way.pop_front()
        {
            *told.entry(oldest.await?).or_default() += 1;
        }
    }
    for call in under_way {
        *told.entry(call.await?).or_default() += 1;
    }

    let accepted = |name: &str| name.starts_with(&format!("{ISSUER}#generation-"));
    let failed: Vec<_> = told.iter().filter(|(name, _)| !accepted(name)).collect();
    let tokens = told.len() - failed.len();
    let failures: u32 = failed.iter().map(|(_, count)| **count).sum();
    let telemetry = credentials.telemetry();
    println!(
        "calls {CALLS} in {:.1} s, failed {failures}; token rotated {rotations} times, seen by \
         the server {tokens}; file read {} times, of those nothing new {}, failed {}; calls that \
         waited {}, tokens rejected {}",
        began.elapsed().as_secs_f64(),
        telemetry.refreshed + telemetry.unchanged,
        telemetry.unchanged,
        telemetry.failed_transiently + telemetry.failed_permanently,
        watched.waits.load(Ordering::Relaxed),
        telemetry.rejected,
    );
    if failures > 0 {
        return Err(format!("calls failed: {failed:?}").into());
    }
    expect("tokens used", tokens.to_string(), (rotations + 1).to_string())?;
    // What was replaced is worth nothing any more.
    let old = world.call(&server, None, Shown::Bearer(&first)).await?;
    expect("the first token", old, "Unauthenticated TOKEN_EXPIRED")
}
