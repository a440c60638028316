use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::watch::PolicyWatch;
use super::{LivePolicy, Policy, PolicyError, PolicyOptions};

/// A policy in a file that may change while it is in use.
///
/// A gate takes one as it takes a [`Policy`]. Each call is decided by the last good policy, and
/// calls that go on are asked about again when it is replaced. Nothing is read again by itself:
/// [`watch`](Self::watch) or [`reload`](Self::reload) does. Cloning shares the policy.
///
/// ```no_run
/// use countersign::Gate;
/// use countersign::authorization::PolicyFile;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = PolicyFile::open("policy.json")?;
/// let gate = Gate::builder().authorize(&policy).build()?;
/// let watching = policy.watch();
/// # drop((gate, watching));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PolicyFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    options: PolicyOptions,
    live: Arc<LivePolicy>,
    /// Held while the file is read, so that two readers cannot put an older policy last.
    state: Mutex<State>,
    told: Mutex<PolicyReport>,
    /// The authenticators of each gate that asks it.
    gates: Mutex<Vec<Vec<String>>>,
    /// The audit loggers of each gate that asks it.
    audits: Mutex<Vec<Vec<String>>>,
}

struct State {
    /// The bytes of the last attempt, good or not.
    text: Option<String>,
}

/// How a [`PolicyFile`] is doing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PolicyReport {
    /// How many policies took the place of another so far.
    pub replaced: u64,
    /// Why what stands in the file now is not in use; the last good policy is. `None`: it is.
    pub problem: Option<Arc<PolicyError>>,
}

impl PolicyFile {
    /// How often a watched file is read.
    pub const POLL: Duration = Duration::from_secs(1);

    /// Reads a policy as [`Policy::from_file`] does. Blocks while it reads.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no policy: there is no last good one to begin with.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, PolicyError> {
        Self::open_with(path, PolicyOptions::default())
    }

    /// Reads a policy in another way than the default one, now and later.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no policy.
    pub fn open_with(
        path: impl Into<PathBuf>,
        options: PolicyOptions,
    ) -> Result<Self, PolicyError> {
        let path = path.into();
        let text = super::read_file(&path)?;
        let policy = Policy::from_text_of(&path, &text, &options)?;
        let shared = Shared {
            path,
            options,
            live: Arc::new(LivePolicy::new(policy)),
            state: Mutex::new(State { text: Some(text) }),
            told: Mutex::default(),
            gates: Mutex::default(),
            audits: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The policy that holds now.
    pub fn current(&self) -> Policy {
        Policy::clone(&self.shared.live.load())
    }

    /// How many times the policy was replaced, and what is wrong with the file now.
    pub fn report(&self) -> PolicyReport {
        lock(&self.shared.told).clone()
    }

    /// Reads the file again now. Blocks while it reads. Whether another policy holds since.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no policy. The last good one goes on to hold.
    pub fn reload(&self) -> Result<bool, Arc<PolicyError>> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        let read = super::read_file(&shared.path);
        if let (Ok(text), Some(known)) = (&read, &state.text)
            && text == known
        {
            // The same as at the last attempt, so with the same outcome.
            return match &lock(&shared.told).problem {
                Some(problem) => Err(Arc::clone(problem)),
                None => Ok(false),
            };
        }
        let read = read.and_then(|text| {
            let policy = Policy::from_text_of(&shared.path, &text, &shared.options);
            state.text = Some(text);
            let policy = policy.and_then(|policy| self.known_to_gates(policy));
            policy.and_then(|policy| self.known_to_audits(policy))
        });
        match read {
            Ok(policy) => {
                shared.live.replace(policy);
                let mut told = lock(&shared.told);
                told.problem = None;
                told.replaced += 1;
                Ok(true)
            }
            Err(error) => {
                if matches!(error, PolicyError::Read { .. }) {
                    // What is read next is looked at, even if it is what was there before.
                    state.text = None;
                }
                let problem = Arc::new(error);
                lock(&shared.told).problem = Some(Arc::clone(&problem));
                Err(problem)
            }
        }
    }

    /// Reads the file again every [`POLL`](Self::POLL), until the handle is dropped.
    ///
    /// A new policy holds from the next call on. A file that cannot be read or holds no policy
    /// changes nothing: the last good one goes on to hold, [`report`](Self::report) says why,
    /// and a warning is logged at once and every minute for as long as that lasts. The whole
    /// content is compared, so that neither a rename, a symbolic link nor a clock hides a change;
    /// for what takes the place of a file in pieces, half of it is a file that holds no policy.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn watch(&self) -> PolicyWatch {
        PolicyWatch::start(self.clone())
    }

    /// From now on no policy holds that asks for other authenticators than a gate's.
    pub(crate) fn asked_by(&self, authenticators: &[&str]) {
        let names = authenticators.iter().map(|&name| name.to_owned()).collect();
        let mut gates = lock(&self.shared.gates);
        if !gates.contains(&names) {
            gates.push(names);
        }
    }

    /// From now on no policy holds that asks for other audit loggers than a gate's.
    pub(crate) fn audited_by(&self, loggers: &[String]) {
        let mut audits = lock(&self.shared.audits);
        if !audits.iter().any(|known| known == loggers) {
            audits.push(loggers.to_vec());
        }
    }

    fn known_to_audits(&self, policy: Policy) -> Result<Policy, PolicyError> {
        let audits = lock(&self.shared.audits);
        let missing = |known: &Vec<String>| {
            Some(PolicyError::UnknownAuditLogger {
                path: self.shared.path.clone(),
                name: policy.audit().missing(known)?.to_owned(),
                known: known.clone(),
            })
        };
        match audits.iter().find_map(missing) {
            Some(error) => Err(error),
            None => Ok(policy),
        }
    }

    fn known_to_gates(&self, policy: Policy) -> Result<Policy, PolicyError> {
        let gates = lock(&self.shared.gates);
        let unknown = |known: &Vec<String>| {
            let (rule, name) = policy.unknown_authenticator(known)?;
            Some(PolicyError::UnknownAuthenticator {
                path: self.shared.path.clone(),
                rule: rule.to_owned(),
                name: name.to_owned(),
                known: known.clone(),
            })
        };
        match gates.iter().find_map(unknown) {
            Some(error) => Err(error),
            None => Ok(policy),
        }
    }

    pub(crate) fn live(&self) -> &Arc<LivePolicy> {
        &self.shared.live
    }
}

impl fmt::Debug for PolicyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyFile({:?})", self.shared.path)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
