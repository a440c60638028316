//! A token file as a kubelet keeps it, and calls that do not notice that it changes.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use countersign::authentication::jwt::{KeySet, KeySource};
use countersign::credentials::{
    CachedToken, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo, FileToken,
    Rejection,
};
use countersign::{CallCredentials, Clock, Jwt, SystemClock, async_trait};
use countersign_testkit::issuer::TokenMint;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::world::{Failure, Outcome, Shown, World, expect, hello};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How many times as fast as all others the clocks of the two ends are. Ten minutes, the shortest
/// life of a projected token, are 625 ms; 80 % of them, when the kubelet writes the next one, are
/// 500 ms.
const SPEED: u32 = 960;

const LIFETIME: Duration = Duration::from_secs(600);
const ROTATION: Duration = Duration::from_secs(480);
const CALLS: u64 = 5_000;

#[derive(Clone, Debug)]
struct Fast {
    wall: SystemTime,
    start: Instant,
}

impl Fast {
    fn new() -> Self {
        Self { wall: SystemClock.now(), start: Instant::now() }
    }
}

impl Clock for Fast {
    fn now(&self) -> SystemTime {
        self.wall + self.start.elapsed() * SPEED
    }
}

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
    let clock = Fast::new();
    let mint = TokenMint::new(ISSUER);
    let keys = KeySource::given(KeySet::from_json(&mint.jwks().to_string())?);
    let issuer = Jwt::issuer(ISSUER).keys(keys).audience("orders");
    let jwt = Jwt::builder().issuer(issuer).clock(clock.clone()).build()?;
    let server = world.serve(jwt).await?;

    let mint = move |generation: u64, now: SystemTime| -> Result<String, Failure> {
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

    let mut paced = interval(Duration::from_millis(1));
    paced.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut rotating = interval(ROTATION / SPEED);
    rotating.tick().await;
    let (mut calls, mut made, mut rotations) = (JoinSet::new(), 0, 0);
    let began = Instant::now();
    while made < CALLS {
        tokio::select! {
            _ = paced.tick() => {
                made += 1;
                let channel = channel.clone();
                calls.spawn(async move { hello(&channel).await });
            }
            _ = rotating.tick() => {
                rotations += 1;
                volume.write(&mint(rotations, clock.now())?)?;
            }
        }
    }
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(answer) = calls.join_next().await {
        *told.entry(answer?).or_default() += 1;
    }
    let took = began.elapsed();

    let accepted = |name: &str| name.starts_with(&format!("{ISSUER}#generation-"));
    let failed: Vec<_> = told.iter().filter(|(name, _)| !accepted(name)).collect();
    let tokens = told.len() - failed.len();
    let failures: u64 = failed.iter().map(|(_, count)| **count).sum();
    let telemetry = credentials.telemetry();
    println!(
        "calls {made} in {:.1} s, failed {failures}; token rotated {rotations} times, seen by the \
         server {tokens}; file read {} times, of those nothing new {}, failed {}; calls that \
         waited {}, tokens rejected {}",
        took.as_secs_f64(),
        telemetry.refreshed + telemetry.unchanged,
        telemetry.unchanged,
        telemetry.failed_transiently + telemetry.failed_permanently,
        watched.waits.load(Ordering::Relaxed),
        telemetry.rejected,
    );
    if failures > 0 {
        return Err(format!("calls failed: {failed:?}").into());
    }
    // On a slow machine one may be replaced before it was read.
    if tokens < 5 {
        return Err(format!("{tokens} tokens were used, and {rotations} written").into());
    }
    // What was replaced is worth nothing any more.
    let old = world.call(&server, None, Shown::Bearer(&first)).await?;
    expect("the first token", old, "Unauthenticated TOKEN_EXPIRED")
}
