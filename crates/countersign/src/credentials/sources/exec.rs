use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::rfc3339;
use crate::credentials::oauth::shortened;
use crate::credentials::{FetchedToken, TokenError, TokenRequest, TokenSource};
use crate::secret::Secret;

const API_VERSION: &str = "client.authentication.k8s.io/v1";

/// Tokens from a program, which prints an `ExecCredential` of Kubernetes
/// (`client.authentication.k8s.io/v1`): what `kubectl` asks too.
///
/// The program is started without a shell, with these arguments, this environment and nothing
/// else: not the environment of this process, which may hold secrets. Its standard input is
/// empty, and `KUBERNETES_EXEC_INFO` says that nobody is there to answer questions. It has 30 s;
/// then, or when nobody wants the token any more, it is killed. Of its standard output 64 KiB
/// are read, and the beginning of its standard error is told when it fails.
///
/// Client certificates in the answer are not used. Without `expirationTimestamp` the end is the
/// token's own `exp`, or five minutes.
#[derive(Clone)]
pub struct ExecPlugin {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    timeout: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    expiration_timestamp: Option<String>,
}

impl ExecPlugin {
    /// The most of the program's standard output that is read, in bytes.
    const MAX_OUTPUT: u64 = 64 * 1024;

    /// The most of its standard error that is told, in bytes.
    const MAX_COMPLAINT: u64 = 1024;

    /// This program: a path, or a name that is looked for in the `PATH` given by
    /// [`env`](Self::env).
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }

    /// Adds an argument. `Debug` does not show arguments.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Gives the program a variable. Most want `PATH` and `HOME`.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// How long it may run. Default: 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn run(&self) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env(
                "KUBERNETES_EXEC_INFO",
                format!(
                    r#"{{"apiVersion":"{API_VERSION}","kind":"ExecCredential","spec":{{"interactive":false}}}}"#
                ),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                // That there is no such program is for somebody to put right.
                let words = format!("cannot start {self:?}");
                match error.kind() {
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
                        TokenError::permanent(words).with_source(error)
                    }
                    _ => TokenError::transient(words).with_source(error),
                }
            })?;
        let (output, complaint) = tokio::join!(
            all(child.stdout.take(), Self::MAX_OUTPUT),
            all(child.stderr.take(), Self::MAX_COMPLAINT)
        );
        let broken = |error| TokenError::transient(format!("{self:?} was lost")).with_source(error);
        let (output, complaint) = (output.map_err(broken)?, complaint.map_err(broken)?);
        let status = child.wait().await.map_err(broken)?;
        if !status.success() {
            let complaint = shortened(String::from_utf8_lossy(&complaint).trim());
            return Err(TokenError::transient(match complaint.is_empty() {
                true => format!("{self:?} ended with {status}"),
                false => format!("{self:?} ended with {status}: {complaint}"),
            }));
        }
        if output.len() as u64 > Self::MAX_OUTPUT {
            return Err(TokenError::permanent(format!("{self:?} printed more than 64 KiB")));
        }
        Ok(output)
    }

    fn read(&self, output: &[u8]) -> Result<FetchedToken, TokenError> {
        let no = |what: &str| TokenError::permanent(format!("{self:?} printed no {what}"));
        let answer: ExecCredential =
            serde_json::from_slice(output).map_err(|_| no("ExecCredential"))?;
        if answer.kind != "ExecCredential" || answer.api_version != API_VERSION {
            return Err(no("ExecCredential of client.authentication.k8s.io/v1"));
        }
        let status = answer.status.ok_or_else(|| no("status"))?;
        let token = status.token.filter(|token| !token.is_empty()).map(Secret::from);
        let token = FetchedToken::bearer(token.ok_or_else(|| no("token"))?);
        match status.expiration_timestamp {
            None => Ok(token),
            Some(end) => {
                let end =
                    rfc3339::parse(&end).ok_or_else(|| no("expirationTimestamp in RFC 3339"))?;
                Ok(token.expires_at(end))
            }
        }
    }
}

/// Up to one byte more than this many; what comes after is taken in and thrown away, so that the
/// program can end.
async fn all(
    pipe: Option<impl AsyncRead + Unpin>,
    most: u64,
) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(most + 1).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

#[async_trait]
impl TokenSource for ExecPlugin {
    async fn fetch(&self, _request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        let output = self.run().await?;
        self.read(&output)
    }

    fn name(&self) -> &'static str {
        "exec"
    }

    fn fetch_timeout(&self) -> Duration {
        self.timeout
    }
}

/// Which program, without its arguments and its environment.
impl fmt::Debug for ExecPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the program `{}`", self.program.display())
    }
}
