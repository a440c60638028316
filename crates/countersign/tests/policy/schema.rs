//! `docs/policy.schema.json` says of samples what the reader says.

use countersign::authorization::Policy;
use serde_json::{Value, json};

fn schema() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.schema.json");
    let text = std::fs::read_to_string(path).expect("the schema is there");
    serde_json::from_str(&text).expect("JSON")
}

/// As much of JSON Schema as ours uses; a word that it does not know is an error of this test.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let words = schema.as_object().expect("a schema");
    words.iter().all(|(word, wanted)| {
        let count = value.as_array().map_or(0, Vec::len) as u64;
        match word.as_str() {
            "$schema" | "title" | "description" | "$defs" | "default" => true,
            "$ref" => {
                let name = wanted.as_str().and_then(|r| r.strip_prefix("#/$defs/")).expect("ours");
                fits(root, &root["$defs"][name], value)
            }
            "type" => match wanted {
                Value::Array(kinds) => kinds.iter().any(|kind| is(kind, value)),
                kind => is(kind, value),
            },
            "enum" => wanted.as_array().expect("a list").contains(value),
            "minLength" => value.as_str().is_none_or(|text| !text.is_empty()),
            "maxLength" => {
                let most = wanted.as_u64().expect("a number");
                value.as_str().is_none_or(|text| text.chars().count() as u64 <= most)
            }
            "minItems" => count >= wanted.as_u64().expect("a number") || !value.is_array(),
            "maxProperties" => {
                let most = wanted.as_u64().expect("a number");
                value.as_object().is_none_or(|members| members.len() as u64 <= most)
            }
            "minProperties" => value.as_object().is_none_or(|members| !members.is_empty()),
            "items" => value.as_array().into_iter().flatten().all(|item| fits(root, wanted, item)),
            "required" => {
                let names = wanted.as_array().expect("a list").iter();
                value.as_object().is_none_or(|members| {
                    names.clone().all(|name| members.contains_key(name.as_str().expect("a name")))
                })
            }
            "additionalProperties" => value.as_object().is_none_or(|members| {
                let mut others =
                    members.iter().filter(|(name, _)| schema["properties"].get(name).is_none());
                match wanted {
                    Value::Bool(false) => others.next().is_none(),
                    wanted => others.all(|(_, member)| fits(root, wanted, member)),
                }
            }),
            "properties" => value.as_object().into_iter().flatten().all(|(name, member)| {
                wanted.get(name).is_none_or(|schema| fits(root, schema, member))
            }),
            // Times of day are tested with the reader.
            "pattern" => true,
            other => panic!("the schema uses {other:?}"),
        }
    })
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("the schema uses the type {other:?}"),
    }
}

/// A policy with everything in it.
fn whole() -> Value {
    let tokens = json!([{"issuers": ["https://id"], "authenticators": ["jwt"], "subjects": ["a"],
        "clients": ["b"], "scopes": ["c"], "claims": [{"name": "d", "values": ["e", 1, true]}]}]);
    json!({
        "name": "p",
        "countersign": {"certificate_names": "strictest", "repeated_headers": "any-value",
            "groups": {"g": [{"principals": ["x"]}, {"tokens": tokens}, {"api_key_owners": ["o"]},
                             {"groups": ["zz"]}], "zz": [{"principals": ["y"]}]}},
        "audit_logging_options": {"audit_condition": "ON_DENY",
            "audit_loggers": [{"name": "stdout_logger", "config": {}, "is_optional": false}]},
        "deny_rules": [{"name": "d"}],
        "allow_rules": [{
            "name": "a",
            "source": {"principals": ["x", ""], "countersign": {
                "groups": ["g", "zz"],
                "tokens": tokens, "api_key_owners": ["o"], "authenticators": ["s"],
                "addresses": ["10.0.0.0/8"], "require": ["certificate", "token"],
                "not": {"principals": ["y"], "groups": ["zz"], "tokens": tokens, "api_key_owners": ["o"],
                        "authenticators": ["s"], "addresses": ["::1"]}}},
            "request": {"paths": ["/a.B/*"], "headers": [{"key": "k", "values": ["v"]}],
                "countersign": {
                    "times": [{"days": ["mon"], "from": "08:00", "to": "18:00"}, {}],
                    "not": {"paths": ["*/C"], "headers": [{"key": "k", "values": ["w"]}]}}},
            "countersign": own_of_rule(),
        }],
    })
}

/// Without the feature no expression is a policy's.
fn own_of_rule() -> Value {
    if cfg!(feature = "cel") { json!({"cel": "source.tls"}) } else { json!({}) }
}

/// Every value in it is replaced, removed, or joined by an unknown key, one at a time.
#[test]
fn the_schema_agrees_with_the_reader_about_every_part() {
    let schema = schema();
    let agree = |policy: &Value| {
        let read = Policy::from_json(&policy.to_string());
        assert_eq!(fits(&schema, &schema, policy), read.is_ok(), "{policy}: {:?}", read.err());
        read.is_ok()
    };
    assert!(agree(&whole()));
    let (mut good, mut bad) = (0, 0);
    for pointer in pointers(&whole(), "") {
        for replacement in [json!(null), json!([]), json!({}), json!(17), json!("zz"), json!(true)]
        {
            let mut policy = whole();
            let part = policy.pointer_mut(&pointer).expect("a part");
            // What one text says is beyond a schema; that it is a text is not.
            if part.is_string() && replacement.is_string() {
                continue;
            }
            // Groups that rules name and that are gone are beyond it too.
            if pointer == "/countersign" && replacement == json!({}) {
                continue;
            }
            // An object in place of one may lack what only the reader asks for together.
            *part = replacement;
            *(if agree(&policy) { &mut good } else { &mut bad }) += 1;
        }
        let mut policy = whole();
        if let Some(Value::Object(members)) = policy.pointer_mut(&pointer)
            && !pointer.ends_with("/config")
        {
            members.insert("unknown".to_owned(), json!(1));
            assert!(!agree(&policy), "{pointer}");
        }
    }
    assert!(good > 10 && bad > 100, "{good} {bad}");
}

fn pointers(value: &Value, at: &str) -> Vec<String> {
    let mut all = vec![at.to_owned()];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                all.extend(pointers(member, &format!("{at}/{name}")));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                all.extend(pointers(item, &format!("{at}/{index}")));
            }
        }
        _ => {}
    }
    all
}
