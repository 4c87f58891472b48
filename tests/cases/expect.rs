//! What a case's `expect.json` asks for (the form: `README.md` here) beside what a run did: each difference is a line.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::answers::matches;
use crate::support::tap::Ran;
use crate::support::vendor::Asked;

/// What a command did.
pub struct Outcome {
    pub ran: Ran,
    /// What stood on stdout, or what `sync` wrote to its target.
    pub messages: Vec<Json>,
    pub events: Vec<Json>,
    pub asked: Vec<Asked>,
    pub seconds: f64,
}

/// Does all that is expected stand in the value? Null is null or absent; every item of a list fits some item;
/// `{"$after": text}` is a later text.
pub fn fits(expected: &Json, value: &Json) -> bool {
    match expected {
        Json::Object(fields) => match fields.get("$after").and_then(Json::as_str) {
            Some(bound) => value.as_str().is_some_and(|text| text > bound),
            None => fields.iter().all(|(key, expected)| fits(expected, &value[key])),
        },
        Json::Array(items) => {
            value.as_array().is_some_and(|values| items.iter().all(|item| values.iter().any(|v| fits(item, v))))
        }
        expected => value == expected,
    }
}

impl Outcome {
    /// What differs; nothing when all is as expected.
    pub fn differences(&self, expected: &Json) -> Vec<String> {
        let mut found = self.difference_of_each_key(expected);
        let either = expected["either"].as_array().into_iter().flatten();
        let each: Vec<Vec<String>> = either.map(|one| self.difference_of_each_key(one)).collect();
        if !each.is_empty() && each.iter().all(|one| !one.is_empty()) {
            let each: Vec<String> = each.iter().map(|one| format!("  ({})", one.join("; "))).collect();
            found.push(format!("none of these:\n    {}", each.join("\n    ")));
        }
        found
    }

    fn difference_of_each_key(&self, expected: &Json) -> Vec<String> {
        let differs = |(key, wanted): (&String, &Json)| match key.as_str() {
            "exit" => {
                let code = json!(self.ran.code);
                let good = *wanted == code || wanted.as_array().is_some_and(|codes| codes.contains(&code));
                (!good).then(|| vec![format!("exit {code}, not {wanted}")])
            }
            "records" => Some(self.records(wanted)),
            "messages" => Some(all(wanted, |part| self.messages.iter().any(|m| fits(part, m)), "no message like")),
            "no_messages" => Some(all(wanted, |part| !self.messages.iter().any(|m| fits(part, m)), "a message like")),
            "events" => Some(all(wanted, |part| self.events.iter().any(|e| fits(part, e)), "no event like")),
            "no_events" => Some(all(wanted, |part| !self.events.iter().any(|e| fits(part, e)), "an event like")),
            "state" => (!fits(wanted, &self.state())).then(|| vec![format!("state {}, not {wanted}", self.state())]),
            "no_state" => Some(all(wanted, |part| !fits(part, &self.state()), &format!("state {} has", self.state()))),
            "requests" => Some(self.requests(wanted)),
            "seconds" => {
                let (least, most) = (wanted[0].as_f64().unwrap(), wanted[1].as_f64().unwrap());
                let good = (least..=most).contains(&self.seconds);
                (!good).then(|| vec![format!("it took {:.1} s, not {least} to {most}", self.seconds)])
            }
            "stdout" => Some(all(wanted, |word| self.ran.out.contains(text(word)), "stdout lacks")),
            "stderr" => Some(all(wanted, |word| self.ran.err.contains(text(word)), "stderr lacks")),
            "says" => Some(all(wanted, |word| self.says(text(word)), "stdout and stderr lack")),
            "says_not" => Some(all(wanted, |word| !self.says(text(word)), "stdout or stderr has")),
            "warnings" => Some(all(wanted, |words| self.warns(words), "no warning with")),
            "either" | "command" | "written" | "why" => None,
            _ => panic!("expect.json: unknown key {key}"),
        };
        expected.as_object().unwrap().iter().filter_map(differs).flatten().collect()
    }

    /// Streams' records: how many, or the list of them, in any order unless the stream's name ends in ` in order`.
    fn records(&self, wanted: &Json) -> Vec<String> {
        let mut found = Vec::new();
        for (name, wanted) in wanted.as_object().unwrap() {
            let (stream, ordered) = name.strip_suffix(" in order").map_or((&**name, false), |stream| (stream, true));
            let mut left = self.records_of(stream);
            let count = left.len();
            let list = wanted.as_array().map_or(&[][..], Vec::as_slice);
            if json!(count) != *wanted && count != list.len() {
                let number = wanted.as_array().map_or_else(|| wanted.clone(), |list| json!(list.len()));
                found.push(format!("{count} records of {stream}, not {number}"));
            }
            for record in list {
                let mut places = left.iter().take(if ordered { 1 } else { count });
                match places.position(|one| fits(record, one)) {
                    Some(at) => drop(left.remove(at)),
                    None => found.push(format!("{stream} lacks {record}; left are {}", Json::from(left.clone()))),
                }
            }
        }
        found
    }

    fn records_of(&self, stream: &str) -> Vec<Json> {
        let records = self.messages.iter().filter(|m| m["type"] == "RECORD");
        let of = records.filter_map(|m| match &m["stream"] {
            Json::String(name) => (name == stream).then(|| m["record"].clone()),
            _ => (m["record"]["stream"] == stream).then(|| m["record"]["data"].clone()),
        });
        of.collect()
    }

    /// The last state in Singer's form; for Airbyte's protocol each stream's last state under its name.
    fn state(&self) -> Json {
        let states = self.messages.iter().filter(|m| m["type"] == "STATE");
        states.fold(Json::Null, |mut last, message| match message.get("value") {
            Some(value) => value.clone(),
            None => {
                let stream = &message["state"]["stream"];
                let name = stream["stream_descriptor"]["name"].as_str().unwrap();
                last["bookmarks"][name] = stream["stream_state"].clone();
                last
            }
        })
    }

    /// The file that `--state` takes to go on from here.
    pub fn last_state(&self) -> Json {
        let states = self.messages.iter().filter(|m| m["type"] == "STATE");
        let mut of_streams = BTreeMap::new();
        for message in states.clone().filter(|m| m.get("value").is_none()) {
            of_streams.insert(message["state"]["stream"]["stream_descriptor"].to_string(), message["state"].clone());
        }
        let value = states.filter_map(|m| m.get("value")).next_back();
        value.cloned().unwrap_or_else(|| of_streams.into_values().collect())
    }

    fn requests(&self, wanted: &Json) -> Vec<String> {
        let mut found = Vec::new();
        for rule in wanted.as_array().unwrap() {
            let count = self.asked.iter().filter(|asked| matches(rule, asked)).count() as u64;
            let [exact, most, least] = ["count", "at_most", "at_least"].map(|key| rule[key].as_u64());
            let least = least.or(exact).unwrap_or(u64::from(most.is_none()));
            if count < least || most.or(exact).is_some_and(|most| count > most) {
                let asked = self.asked.iter().map(|a| format!("{} {}?{}", a.method, a.path, a.query));
                let asked: Vec<String> = asked.take(20).collect();
                found.push(format!("{count} requests like {rule} in {asked:?}"));
            }
        }
        found
    }

    fn says(&self, word: &str) -> bool {
        self.ran.out.contains(word) || self.ran.err.contains(word)
    }

    /// Has one warning of the log all these words?
    fn warns(&self, words: &Json) -> bool {
        let has = |warning: &str| words.as_array().unwrap().iter().all(|word| warning.contains(text(word)));
        // A line that goes on is indented.
        let lines = self.ran.err.replace("\n        ", " ");
        lines.lines().filter(|line| line.starts_with("warning")).any(has)
    }
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

/// A line for each of the expected parts that is not as it should be.
fn all(wanted: &Json, good: impl Fn(&Json) -> bool, otherwise: &str) -> Vec<String> {
    let wrong = wanted.as_array().unwrap().iter().filter(|part| !good(part));
    wrong.map(|part| format!("{otherwise} {part}")).collect()
}
