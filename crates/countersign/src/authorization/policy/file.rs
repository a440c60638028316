use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::read::read_file;
use super::watch::PolicyWatch;
use super::{GateNeeds, LivePolicy, Policy, PolicyError, PolicyOptions, parse};

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
    told: Mutex<Told>,
}

struct State {
    /// The bytes of the last attempt, good or not.
    text: Option<String>,
    /// What was seen at the last look, and may be a part of what somebody is writing.
    unsettled: Option<String>,
    /// What the gates need that ask it, for as long as there are these gates.
    gates: Vec<Weak<GateNeeds>>,
    /// The one that the last attempt was not good enough for.
    refused_by: Option<Weak<GateNeeds>>,
}

/// How a [`PolicyFile`] is doing, for metrics and health checks.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PolicyReport {
    /// How many policies took the place of another so far. A counter.
    pub replaced: u64,
    /// How many times a policy was kept out so far: a new content of the file that is no policy or
    /// not one for the gates, or a file that could no longer be read. However long it stays so, it
    /// counts once. A counter.
    pub refused: u64,
    /// How long ago the file was last read and held the policy that is in use. Grows for as long
    /// as there is a problem, or nobody reads it. A gauge.
    pub since_good: Duration,
    /// Why what stands in the file now is not in use; the last good policy is. `None`: it is.
    pub problem: Option<Arc<PolicyError>>,
    /// How long there has been a problem, whichever; `None` while there is none.
    pub problem_for: Option<Duration>,
}

/// What a report is made of.
struct Told {
    replaced: u64,
    refused: u64,
    good_at: Instant,
    problem: Option<Arc<PolicyError>>,
    bad_since: Option<Instant>,
}

impl Told {
    fn good(&mut self) {
        self.good_at = Instant::now();
        (self.problem, self.bad_since) = (None, None);
    }

    fn bad(&mut self, problem: &Arc<PolicyError>) {
        // A file that stays away is one problem, and not one for each look.
        let unread = |one: &PolicyError| matches!(one, PolicyError::Read { .. });
        if !(unread(problem) && self.problem.as_deref().is_some_and(unread)) {
            self.refused += 1;
        }
        self.problem = Some(Arc::clone(problem));
        self.bad_since.get_or_insert_with(Instant::now);
    }
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
        let text = read_file(&path)?;
        let policy = Policy::from_text_of(&path, &text, &options)?;
        let shared = Shared {
            path,
            options,
            live: Arc::new(LivePolicy::new(policy)),
            state: Mutex::new(State {
                text: Some(text),
                unsettled: None,
                gates: Vec::new(),
                refused_by: None,
            }),
            told: Mutex::new(Told {
                replaced: 0,
                refused: 0,
                good_at: Instant::now(),
                problem: None,
                bad_since: None,
            }),
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

    /// How many times the policy was replaced and others were refused, how old its last good
    /// reading is, and what is wrong with the file now. Waits for nothing.
    pub fn report(&self) -> PolicyReport {
        let told = lock(&self.shared.told);
        PolicyReport {
            replaced: told.replaced,
            refused: told.refused,
            since_good: told.good_at.elapsed(),
            problem: told.problem.clone(),
            problem_for: told.bad_since.map(|since| since.elapsed()),
        }
    }

    /// Reads the file again now. Blocks while it reads. Whether another policy holds since.
    ///
    /// For a file that is whole by now: what it says holds at once, and of a policy in TOML or
    /// YAML a part may be one too.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no policy. The last good one goes on to hold.
    pub fn reload(&self) -> Result<bool, Arc<PolicyError>> {
        let mut state = lock(&self.shared.state);
        // What was seen before this is no longer what a next look finds unchanged.
        state.unsettled = None;
        let read = read_file(&self.shared.path);
        self.take(&mut state, read)
    }

    /// The same of a file that somebody may be writing: what may be a part of a policy is taken
    /// when the next look finds it unchanged.
    pub(super) fn look(&self) -> Result<bool, Arc<PolicyError>> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        let read = read_file(&shared.path);
        let seen = state.unsettled.take();
        if let Ok(text) = &read
            && parse::may_be_cut(&shared.path)
            && state.text.as_ref() != Some(text)
            && seen.as_ref() != Some(text)
        {
            state.unsettled = Some(text.clone());
            return match &lock(&shared.told).problem {
                Some(problem) => Err(Arc::clone(problem)),
                None => Ok(false),
            };
        }
        self.take(&mut state, read)
    }

    fn take(
        &self,
        state: &mut State,
        read: Result<String, PolicyError>,
    ) -> Result<bool, Arc<PolicyError>> {
        let shared = &*self.shared;
        let refused_by = state.refused_by.take_if(|gate| gate.strong_count() == 0);
        if let (Ok(text), Some(known)) = (&read, &state.text)
            && text == known
            && refused_by.is_none()
        {
            // The same as at the last attempt, so with the same outcome, but where the gate is gone
            // that it was not good enough for.
            let mut told = lock(&shared.told);
            return match &told.problem {
                Some(problem) => Err(Arc::clone(problem)),
                None => {
                    told.good();
                    Ok(false)
                }
            };
        }
        state.refused_by = None;
        let read = read.and_then(|text| {
            let policy = Policy::from_text_of(&shared.path, &text, &shared.options);
            state.text = Some(text);
            policy.and_then(|policy| self.good_for_gates(state, policy))
        });
        match read {
            Ok(policy) => {
                shared.live.replace(policy);
                let mut told = lock(&shared.told);
                told.good();
                told.replaced += 1;
                Ok(true)
            }
            Err(error) => {
                if matches!(error, PolicyError::Read { .. }) {
                    // What is read next is looked at, even if it is what was there before.
                    state.text = None;
                }
                let problem = Arc::new(error);
                lock(&shared.told).bad(&problem);
                Err(problem)
            }
        }
    }

    /// Reads the file again every [`POLL`](Self::POLL), until the handle is dropped.
    ///
    /// A new policy holds from the next call on. A file that cannot be read or holds no policy
    /// changes nothing: the last good one goes on to hold, [`report`](Self::report) says why,
    /// and a warning is logged at once and every minute for as long as that lasts. The whole
    /// content is compared, so that neither a rename, a symbolic link nor a clock hides a change.
    /// Of what takes the place of a file in pieces, a part in JSON is a file that holds no policy;
    /// in TOML and YAML it may be one without its last rules, denials perhaps, so a new content in
    /// these holds once it was found twice in a row.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn watch(&self) -> PolicyWatch {
        PolicyWatch::start(self.clone())
    }

    /// From now on no policy holds that does not meet a gate's needs, for as long as these are
    /// kept. The policy that holds now is not looked at. Waits where the file is being read.
    pub(crate) fn asked_by(&self, needs: GateNeeds) -> Arc<GateNeeds> {
        // Under the lock under which policies are replaced, so that none comes between that was
        // looked at without these needs.
        let mut state = lock(&self.shared.state);
        let needs = Arc::new(needs);
        state.gates.retain(|gate| gate.strong_count() > 0);
        state.gates.push(Arc::downgrade(&needs));
        needs
    }

    fn good_for_gates(&self, state: &mut State, policy: Policy) -> Result<Policy, PolicyError> {
        let unmet = |gate: &Weak<GateNeeds>| gate.upgrade()?.unmet(&policy);
        let found = state.gates.iter().find_map(|gate| Some((gate.clone(), unmet(gate)?)));
        match found {
            Some((gate, unmet)) => {
                state.refused_by = Some(gate);
                Err(unmet.of_file(&self.shared.path))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a denial while its file is replaced in pieces.
    #[cfg(any(feature = "toml", feature = "yaml"))]
    fn followed(name: &str, whole: &str, part: &str) -> Vec<(Option<bool>, &'static str)> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, whole).expect("written");
        let file = PolicyFile::open(&path).expect("a policy");
        [
            (part, "a part"),
            (whole, "the whole"),
            (whole, "the whole again"),
            (part, "a part, and no more"),
            (part, "still a part"),
        ]
        .map(|(text, what)| {
            std::fs::write(&path, text).expect("written");
            let replaced = file.look().ok();
            let denies = file.current().rules().any(|rule| rule.name == "no-purge");
            (replaced, if denies { what } else { "open" })
        })
        .to_vec()
    }

    #[cfg(feature = "toml")]
    #[test]
    fn a_part_of_a_policy_in_toml_does_not_hold_while_the_rest_is_written() {
        let allow = "name = 'orders'\n[[allow_rules]]\nname = 'all'\n";
        let whole =
            format!("{allow}[[deny_rules]]\nname = 'no-purge'\nrequest.paths = ['*/Purge']\n");
        let told = followed("policy.toml", &whole, allow);
        assert_eq!(told, SETTLED);
    }

    #[cfg(feature = "yaml")]
    #[test]
    fn a_part_of_a_policy_in_yaml_does_not_hold_while_the_rest_is_written() {
        let allow = "name: orders\nallow_rules:\n- name: all\n";
        let whole =
            format!("{allow}deny_rules:\n- name: no-purge\n  request: {{paths: ['*/Purge']}}\n");
        assert_eq!(followed("policy.yaml", &whole, allow), SETTLED);
    }

    /// A look finds a part, the whole is taken on demand, and the same part is found once more.
    #[cfg(any(feature = "toml", feature = "yaml"))]
    #[test]
    fn a_part_that_was_seen_before_a_reload_is_a_part_again_after_it() {
        let toml = (
            "policy.toml",
            "name = 'orders'\n[[allow_rules]]\nname = 'all'\n",
            "[[deny_rules]]\nname = 'no-purge'\nrequest.paths = ['*/Purge']\n",
        );
        let yaml = (
            "policy.yaml",
            "name: orders\nallow_rules:\n- name: all\n",
            "deny_rules:\n- name: no-purge\n  request: {paths: ['*/Purge']}\n",
        );
        for (name, part, rest) in [(cfg!(feature = "toml"), toml), (cfg!(feature = "yaml"), yaml)]
            .into_iter()
            .filter_map(|(is_known, one)| is_known.then_some(one))
        {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join(name);
            let write = |text: &str| std::fs::write(&path, text).expect("written");
            write(&format!("{part}{rest}# of before\n"));
            let file = PolicyFile::open(&path).expect("a policy");
            let denies = || file.current().rules().any(|rule| rule.name == "no-purge");
            write(part);
            assert!(!file.look().expect("nothing yet"), "{name}");
            write(&format!("{part}{rest}"));
            assert!(file.reload().expect("the whole"), "{name}");
            write(part);
            assert!(!file.look().expect("nothing yet"), "{name}");
            assert!(denies(), "{name}: a part holds at once");
            assert!(file.look().expect("what stays"), "{name}");
            assert!(!denies(), "{name}");
        }
    }

    /// Only what stays is meant.
    #[cfg(any(feature = "toml", feature = "yaml"))]
    const SETTLED: [(Option<bool>, &str); 5] = [
        (Some(false), "a part"),
        (Some(false), "the whole"),
        (Some(false), "the whole again"),
        (Some(false), "a part, and no more"),
        (Some(true), "open"),
    ];

    /// Half an object is none, so there is nothing to wait for.
    #[test]
    fn a_policy_in_json_holds_at_the_first_look() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.json");
        let named =
            |name: &str| format!(r#"{{"name": "{name}", "allow_rules": [{{"name": "all"}}]}}"#);
        std::fs::write(&path, named("one")).expect("written");
        let file = PolicyFile::open(&path).expect("a policy");
        std::fs::write(&path, named("two")).expect("written");
        assert!(file.look().expect("a policy"));
        assert_eq!(file.current().name(), "two");
    }
}
