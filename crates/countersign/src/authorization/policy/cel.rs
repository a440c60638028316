//! Conditions in the Common Expression Language, compiled when the policy is read.
//!
//! What an expression may cost is settled then: its length, its depth, how many macros walk over
//! lists, and that none walks within another. What it walks over comes from the call, and is
//! bounded in [`values`].

mod values;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, Env, IdedExpr, Program, Value};

use self::values::Reads;
use super::condition::Seen;
use super::error::InvalidPolicy;
use super::fields::nearest;
use super::json::{Node, Place};

/// An expression over a call.
pub(super) struct Expression {
    source: String,
    program: Program,
    reads: Reads,
}

/// It could not be evaluated to true or false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecided;

/// In bytes.
const MAX_LENGTH: usize = 4096;
/// How deep operators and calls may lie in each other.
const MAX_DEPTH: usize = 64;
/// How many times an expression may walk over a list or a map.
const MAX_MACROS: usize = 8;

/// Functions, operators and macros; always the same.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// What is not here would be an error at each call. `matches` is left out on purpose: a pattern
/// may come from the caller, and compiling it costs more than anything else could.
const FUNCTIONS: [&str; 32] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "int",
    "max",
    "min",
    "of",
    "optMap",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "value",
    "none",
];

/// What `type()` is compared with.
const TYPES: [&str; 9] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

impl Expression {
    /// Compiles what a policy says at `node`; `text` is the policy's own, for places in it.
    pub(super) fn compile(source: &str, node: &Node, text: &str) -> Result<Self, InvalidPolicy> {
        let place =
            |line: usize, column: usize| place_within(source, node.place, text, line, column);
        if source.len() > MAX_LENGTH {
            let message = format!("the expression is longer than {MAX_LENGTH} bytes");
            return Err(InvalidPolicy::new(node.place, message));
        }
        let compiled = catch_unwind(|| ENVIRONMENT.compile(source))
            .unwrap_or_else(|_| Err(cel::ParseErrors { errors: Vec::new() }));
        let program = compiled.map_err(|errors| {
            // What the grammar says goes before what else was found of a tree with holes.
            let by_grammar = errors.errors.iter().find(|error| error.msg.starts_with(BY_GRAMMAR));
            let first = by_grammar.or(errors.errors.first());
            let at = first.map_or((0, 0), |error| error.pos);
            let count = |at: isize| usize::try_from(at).unwrap_or(0);
            let message = first.map_or("it cannot be read", |error| error.msg.as_str());
            let at = place(count(at.0), count(at.1));
            InvalidPolicy::new(at, format!("the expression is not CEL: {}", in_words(message)))
        })?;
        let mut check = Check { reads: Reads::default(), macros: 0 };
        if let Err(flaw) = check.expression(program.expression(), &[], 0, false) {
            let offset = program.source_info().offset_for(flaw.id);
            let offset = offset.and_then(|(start, _)| usize::try_from(start).ok()).unwrap_or(0);
            let before = source.get(..offset).unwrap_or(source);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            let error = InvalidPolicy::new(place(line, column), flaw.message);
            return Err(match flaw.hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            });
        }
        Ok(Self { source: source.to_owned(), program, reads: check.reads })
    }

    /// Evaluates it for one call. An error within is nobody's yes.
    pub(super) fn evaluate(&self, seen: &Seen<'_>) -> Result<bool, Undecided> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        self.reads.add_to(&mut context, seen).map_err(|_| Undecided)?;
        // A flaw of the evaluator must not take more with it than this answer.
        let value = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context)));
        match value {
            Ok(Ok(Value::Bool(value))) => Ok(value),
            Ok(_) | Err(_) => Err(Undecided),
        }
    }

    /// As it was written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn reads_headers(&self) -> bool {
        self.reads.headers
    }

    /// Whether it asks whom an authenticator proved.
    pub(super) fn reads_callers(&self) -> bool {
        self.reads.callers()
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.source)
    }
}

/// What is wrong with a part of an expression.
struct Flaw {
    id: u64,
    message: String,
    hint: Option<String>,
}

/// Walks over an expression once, before anybody depends on it.
struct Check {
    reads: Reads,
    macros: usize,
}

impl Check {
    /// `own` are the names that macros gave, `walks` whether it is within one.
    fn expression(
        &mut self,
        expression: &IdedExpr,
        own: &[&str],
        depth: usize,
        walks: bool,
    ) -> Result<(), Flaw> {
        let flaw =
            |message: String, hint: Option<String>| Err(Flaw { id: expression.id, message, hint });
        if depth > MAX_DEPTH {
            return flaw(format!("more than {MAX_DEPTH} operators lie in each other"), None);
        }
        let depth = depth + 1;
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if own.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => match self.reads.whole(name) || TYPES.contains(&name.as_str()) {
                true => Ok(()),
                false => flaw(
                    format!("the expression has an unknown variable {name:?}"),
                    Some("variables are request, source and token".to_owned()),
                ),
            },
            Expr::Select(select) => {
                if let Expr::Ident(root) = &select.operand.expr
                    && !own.contains(&root.as_str())
                    && let Some(known) = Reads::fields(root)
                {
                    if self.reads.field(root, &select.field) {
                        return Ok(());
                    }
                    let near = nearest(&select.field, known);
                    let hint = match near {
                        Some(near) => format!("did you mean {root}.{near}?"),
                        None => format!("{root} has {}", known.join(", ")),
                    };
                    return flaw(format!("there is no {root}.{}", select.field), Some(hint));
                }
                self.expression(&select.operand, own, depth, walks)
            }
            Expr::Call(call) => {
                // With one field it is a macro, and no call any more.
                if call.func_name == "has" {
                    let hint = "write has(source.certificate)".to_owned();
                    return flaw("has asks for one field".to_owned(), Some(hint));
                }
                // Operators have names that nobody can write.
                let named = call.func_name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if named && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    let hint = match call.func_name.as_str() {
                        "matches" => Some(
                            "regular expressions cost too much; use startsWith, endsWith or \
                             contains"
                                .to_owned(),
                        ),
                        name => {
                            nearest(name, &FUNCTIONS).map(|near| format!("did you mean {near}?"))
                        }
                    };
                    return flaw(format!("there is no function {}", call.func_name), hint);
                }
                // `optional.of` and `optional.none` are functions of one name.
                let target = call.target.as_deref().filter(
                    |target| !matches!(&target.expr, Expr::Ident(name) if name == "optional"),
                );
                let mut parts = target.into_iter().chain(&call.args);
                parts.try_for_each(|part| self.expression(part, own, depth, walks))
            }
            Expr::List(list) => {
                list.elements.iter().try_for_each(|one| self.expression(one, own, depth, walks))
            }
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.expression(&entry.key, own, depth, walks)?;
                    self.expression(&entry.value, own, depth, walks)
                }
                EntryExpr::StructField(field) => self.expression(&field.value, own, depth, walks),
            }),
            Expr::Struct(_) => flaw("there are no messages to make".to_owned(), None),
            Expr::Comprehension(walk) => {
                self.macros += 1;
                if walks {
                    return flaw("a macro walks within another".to_owned(), None);
                }
                if self.macros > MAX_MACROS {
                    return flaw(format!("there are more than {MAX_MACROS} macros"), None);
                }
                self.expression(&walk.iter_range, own, depth, walks)?;
                self.expression(&walk.accu_init, own, depth, walks)?;
                let mut inner = own.to_vec();
                inner.extend([walk.iter_var.as_str(), walk.accu_var.as_str()]);
                inner.extend(walk.iter_var2.as_deref());
                let mut parts = [&walk.loop_cond, &walk.loop_step, &walk.result].into_iter();
                parts.try_for_each(|part| self.expression(part, &inner, depth, true))
            }
        }
    }
}

/// The place in the policy of a place in an expression, both counted from 1, if the policy has
/// the expression's line as it is; where escapes are in between, the place of the whole.
fn place_within(source: &str, start: Place, text: &str, line: usize, column: usize) -> Place {
    let find = || {
        let wanted = source.lines().nth(line.checked_sub(1)?)?;
        let at = usize::try_from(start.line).ok()?.checked_sub(1)?;
        // A line of the expression stands in a line of its own or in the one that begins it.
        text.lines().enumerate().skip(at).take(line + 2).find_map(|(number, shown)| {
            let skip = if number == at { usize::try_from(start.column).ok()? - 1 } else { 0 };
            let from = shown.char_indices().nth(skip).map_or(shown.len(), |(at, _)| at);
            let found =
                from + shown[from..].find(wanted.trim()).filter(|_| !wanted.trim().is_empty())?;
            let indent = wanted.chars().take_while(|c| c.is_whitespace()).count();
            let before = shown[..found].chars().count();
            Some((number + 1, (before + column).saturating_sub(indent)))
        })
    };
    let count = |count| u32::try_from(count).ok();
    let placed = find().and_then(|(line, column)| {
        Some(Place { line: count(line)?, column: count(column.max(1))? })
    });
    placed.unwrap_or(start)
}

/// How the parser begins what its grammar does not allow.
const BY_GRAMMAR: &str = "Syntax error: ";

/// A parser's own words without its names for what could stand there; they may have several lines
/// and pictures.
fn in_words(message: &str) -> String {
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = words.strip_prefix(BY_GRAMMAR).unwrap_or(&words);
    if words.contains("input '<EOF>'") || words.contains("at '<EOF>'") {
        return "it ends too early".to_owned();
    }
    let found = words.split_once(" expecting ").map_or(words, |(found, _)| found);
    found.chars().take(200).collect()
}
