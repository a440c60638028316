use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use redis::Value;

use super::ticks::{Count, Ticks};
use crate::quota::meter::Allowance;

/// The script that takes from buckets, what it is given, and what it answers.
#[derive(Debug)]
pub(super) struct Script {
    hash: String,
}

impl Script {
    /// GCRA over `KEYS`, all or none.
    ///
    /// `ARGV` has, for each key: how many parts make a microsecond; the microseconds of the whole
    /// burst; what the call takes; and the slack, which is how far ahead the bucket's time may be
    /// for the call to pass, the latter two as microseconds and parts. A slack of -1 never passes.
    ///
    /// A key's value is the time when the bucket is full, as microseconds and parts. Beyond the
    /// whole burst it cannot be but where the clock was set back or the limit was changed, and
    /// then the bucket counts as empty and not as more than that.
    ///
    /// Numbers are written by `%.0f`, since Lua's own way keeps 14 digits.
    pub(super) const TEXT: &'static str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local whole, parts, passes = {}, {}, 1
for i, key in ipairs(KEYS) do
  local a = (i - 1) * 6
  local unit, capacity = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local slack, slack_parts = tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6])
  local w, p = now, 0
  local value = redis.call('GET', key)
  if value then
    local found_w, found_p = string.match(value, '^(%d+) (%d+)$')
    if not found_w then
      return redis.error_reply('ERR a bucket of countersign is something else: ' .. key)
    end
    w, p = tonumber(found_w), tonumber(found_p)
    if p >= unit then w, p = w + 1, 0 end
    if w >= now + capacity then w, p = now + capacity, 0 end
    if w < now then w, p = now, 0 end
  end
  whole[i], parts[i] = w, p
  if slack < 0 or w - slack > now or (w - slack == now and p > slack_parts) then
    passes = 0
  end
end
local answer = { passes, now }
for i, key in ipairs(KEYS) do
  local a = (i - 1) * 6
  local w, p = whole[i], parts[i]
  if passes == 1 then
    w, p = w + tonumber(ARGV[a + 3]), p + tonumber(ARGV[a + 4])
    local unit = tonumber(ARGV[a + 1])
    if p >= unit then w, p = w + 1, p - unit end
    if w > now or p > 0 then
      local lasts = math.floor((w - now) / 1000) + 1
      redis.call('SET', key, string.format('%.0f %.0f', w, p), 'PX', string.format('%.0f', lasts))
    end
  end
  answer[#answer + 1] = w
  answer[#answer + 1] = p
end
return answer
";

    pub(super) fn new() -> Self {
        // The server's name for a script; nobody's safety rests on it.
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, Self::TEXT.as_bytes());
        Self { hash: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect() }
    }

    /// The script's name at the server.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// What follows the script in `EVAL` and its name in `EVALSHA`.
    pub(super) fn arguments(
        keys: impl ExactSizeIterator<Item = String>,
        counts: &[Count],
    ) -> Vec<Vec<u8>> {
        let mut arguments = Vec::with_capacity(1 + counts.len() * 7);
        arguments.push(keys.len().to_string().into_bytes());
        arguments.extend(keys.map(String::into_bytes));
        for count in counts {
            let taken = count.taken();
            let (slack, slack_parts) = match count.slack() {
                Some(slack) => (slack.whole.to_string(), slack.parts),
                None => ("-1".to_owned(), 0),
            };
            let numbers = [count.parts(), count.capacity(), taken.whole, taken.parts];
            arguments.extend(numbers.map(|number| number.to_string().into_bytes()));
            arguments.push(slack.into_bytes());
            arguments.push(slack_parts.to_string().into_bytes());
        }
        arguments
    }

    /// What the script said of each bucket; `None` if that was not it.
    pub(super) fn answer(value: &Value, counts: &[Count]) -> Option<Vec<Allowance>> {
        let Value::Array(values) = value else { return None };
        let numbers: Vec<u64> = values
            .iter()
            .map(|value| match value {
                Value::Int(number) => u64::try_from(*number).ok(),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let [passes @ 0..=1, now, full_at @ ..] = &numbers[..] else { return None };
        if full_at.len() != 2 * counts.len() {
            return None;
        }
        let passes = *passes == 1;
        let full_at = full_at.chunks(2).map(|pair| Ticks { whole: pair[0], parts: pair[1] });
        let said = counts.iter().zip(full_at).map(|(count, at)| count.allowance(*now, at, passes));
        let said: Vec<Allowance> = said.collect();
        // Both of us have counted; nobody passes on one's word alone.
        let agreed = said.iter().all(|one| one.allowed) == passes;
        let fits = !passes || counts.iter().all(|count| count.slack().is_some());
        (agreed && fits).then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::quota::Limit;

    fn counts(cost: u64) -> [Count; 1] {
        let limit = Limit::new(10, Duration::from_secs(1)).expect("a limit").with_burst(2);
        [Count::new(limit, cost).expect("in range")]
    }

    #[test]
    fn arguments_are_numbers_for_each_key() {
        let arguments = Script::arguments(["a".to_owned()].into_iter(), &counts(1));
        let text: Vec<String> =
            arguments.into_iter().map(|it| String::from_utf8(it).expect("text")).collect();
        assert_eq!(text, ["1", "a", "1", "200000", "100000", "0", "100000", "0"]);
        let arguments = Script::arguments(["a".to_owned()].into_iter(), &counts(3));
        assert_eq!(arguments[6], b"-1");
        assert_eq!(Script::new().hash().len(), 40);
    }

    #[test]
    fn only_our_scripts_answer_is_one() {
        let ints = |numbers: &[i64]| Value::Array(numbers.iter().map(|n| Value::Int(*n)).collect());
        let passed = Script::answer(&ints(&[1, 50, 100_050, 0]), &counts(1)).expect("an answer");
        assert_eq!((passed[0].allowed, passed[0].remaining), (true, 1));
        let refused = Script::answer(&ints(&[0, 50, 200_050, 0]), &counts(1)).expect("an answer");
        assert_eq!(refused[0].retry_after(), Some(Duration::from_millis(100)));
        for (name, value) in [
            ("nothing", Value::Nil),
            ("a number", Value::Int(1)),
            ("no numbers", Value::Array(vec![Value::Okay; 4])),
            ("too few", ints(&[1, 50])),
            ("too many", ints(&[1, 50, 100_050, 0, 100_050, 0])),
            ("neither yes nor no", ints(&[2, 50, 100_050, 0])),
            ("before time", ints(&[1, -50, 100_050, 0])),
            ("no, and nothing that would say so", ints(&[0, 50, 50, 0])),
        ] {
            assert_eq!(Script::answer(&value, &counts(1)), None, "{name}");
        }
        let never = ints(&[1, 50, 100_050, 0]);
        assert_eq!(Script::answer(&never, &counts(3)), None, "yes to what can never be");
    }
}
