//! The two programs. Each runs as long as we do, and answers a line with a line.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use crate::case::{Case, Verdict};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug)]
pub(crate) struct Sides {
    us: Side,
    them: Side,
}

impl Sides {
    pub(crate) fn start(us: &Path, them: &Path) -> Result<Self, Failure> {
        Ok(Self { us: Side::start(us, &["conformance", "policy"])?, them: Side::start(them, &[])? })
    }

    /// Asks both at once, and gives our answers and theirs.
    pub(crate) fn ask(&mut self, cases: &[Case]) -> Result<Vec<(Verdict, Verdict)>, Failure> {
        let (us, them) = (&mut self.us, &mut self.them);
        thread::scope(|scope| {
            let ours = scope.spawn(|| us.ask(cases.iter().map(Case::for_us)));
            let theirs = them.ask(cases.iter().map(Case::for_them))?;
            let ours = ours.join().map_err(|_| "a thread panicked")??;
            Ok(ours.into_iter().zip(theirs).collect())
        })
    }

    pub(crate) fn ask_both(&mut self, case: &Case) -> Result<(Verdict, Verdict), Failure> {
        Ok((self.ask_us(case)?, self.ask_them(case)?))
    }

    pub(crate) fn ask_us(&mut self, case: &Case) -> Result<Verdict, Failure> {
        self.us.ask_one(&case.for_us())
    }

    pub(crate) fn ask_them(&mut self, case: &Case) -> Result<Verdict, Failure> {
        self.them.ask_one(&case.for_them())
    }
}

#[derive(Debug)]
struct Side {
    name: String,
    child: Child,
    /// `None` once it has been told that nothing more comes.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Side {
    fn start(program: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        let name = program.display().to_string();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.expect("both are pipes, as asked for above");
        Ok(Self { name, child, input: Some(input), output: BufReader::new(output) })
    }

    /// Writes while it reads, as neither pipe holds everything.
    fn ask(&mut self, lines: impl Iterator<Item = String>) -> Result<Vec<Verdict>, Failure> {
        let lines: Vec<_> = lines.collect();
        let (name, output) = (&self.name, &mut self.output);
        let input = self.input.as_mut().expect("it is open until the end");
        thread::scope(|scope| {
            let writing = scope.spawn(|| write(input, &lines));
            let answers = lines.iter().map(|line| answer(name, output, line));
            let answers = answers.collect::<Result<Vec<_>, _>>();
            writing.join().map_err(|_| "a thread panicked")??;
            answers
        })
    }

    fn ask_one(&mut self, line: &str) -> Result<Verdict, Failure> {
        let input = self.input.as_mut().expect("it is open until the end");
        input.write_all(line.as_bytes())?;
        input.write_all(b"\n")?;
        answer(&self.name, &mut self.output, line)
    }
}

fn write(input: &mut ChildStdin, lines: &[String]) -> std::io::Result<()> {
    let mut text = lines.join("\n");
    if !lines.is_empty() {
        text.push('\n');
    }
    input.write_all(text.as_bytes())
}

fn answer(
    name: &str,
    output: &mut BufReader<ChildStdout>,
    asked: &str,
) -> Result<Verdict, Failure> {
    let mut line = String::new();
    if output.read_line(&mut line)? == 0 {
        return Err(format!("{name} ended, and was asked\n{asked}").into());
    }
    Verdict::read(&line)
        .ok_or_else(|| format!("{name} said {line}to what was asked\n{asked}").into())
}

impl Drop for Side {
    fn drop(&mut self) {
        self.input = None;
        // It ends with its input. How it ends says nothing about the cases.
        let _ = self.child.wait();
    }
}
