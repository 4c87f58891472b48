//! The remaining quota of a token for one kind of calls.
//!
//! Input: the definition of a quota; then the vendor's report for a token, and the numbers in each response. Output:
//! how many calls remain, and until when. Called by [`super::Rotation`].

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use crate::base::fault::{Failure, Fault, Result};
use crate::engine::auth::oauth::time_of;
use crate::manifest::model::TokenQuota;
use crate::manifest::template::{EvalContext, text_of};
use crate::pace::Matcher;

/// How much earlier a response's reset time may be and still refer to this window.
const SKEW: time::Duration = time::Duration::seconds(60);

/// A pool: one kind of calls.
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) matchers: Vec<Matcher>,
    pub(super) left: Vec<String>,
    pub(super) resets: Vec<String>,
    pub(super) limit: Option<Vec<String>>,
    pub(super) left_header: Option<String>,
    pub(super) resets_header: Option<String>,
    pub(super) limit_header: Option<String>,
    pub(super) spent_statuses: Vec<u64>,
}

/// The remaining quota of a token in a pool.
#[derive(Clone)]
pub(super) struct Remaining {
    pub(super) left: i64,
    pub(super) resets: OffsetDateTime,
    pub(super) limit: i64,
    /// Does the vendor count these calls?
    pub(super) counted: bool,
}

impl Pool {
    pub(super) fn build(def: &TokenQuota, cx: &EvalContext) -> Result<Pool> {
        let some = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        Ok(Pool {
            name: def.name.clone(),
            matchers: def.matchers.iter().flatten().map(|m| Matcher::build(m, cx)).collect::<Result<_>>()?,
            left: def.remaining_path.clone(),
            resets: def.reset_path.clone(),
            limit: def.limit_path.clone().filter(|path| !path.is_empty()),
            left_header: some(&def.remaining_header),
            resets_header: some(&def.reset_header),
            limit_header: some(&def.limit_header),
            spent_statuses: def.exhaustion_status_codes.clone().unwrap_or_default(),
        })
    }

    /// The remaining quota of a token in the vendor's report.
    pub(super) fn count(&self, answer: &Json) -> Result<Remaining> {
        let bad = |what: &str, how: &str| {
            let text = format!(
                "Quota status response does not contain the configured {what} path for token quota \"{}\".",
                self.name
            );
            Fault::data(format!("the vendor's quota response for `{}` {how}: `{what}_path`", self.name))
                .airbyte_message(text, Failure::System)
        };
        let at = |path: &[String], what: &str| {
            let found = path.iter().try_fold(answer, |at, key| at.as_object()?.get(key));
            found.ok_or_else(|| bad(what, "has nothing at its path"))
        };
        let number = |path: &[String], what: &str| {
            let value = at(path, what)?;
            #[allow(clippy::cast_possible_truncation)]
            let number = match value {
                Json::Number(n) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)),
                Json::String(s) => s.trim().parse().ok(),
                Json::Bool(b) => Some(i64::from(*b)),
                _ => None,
            };
            number.ok_or_else(|| bad(what, "has no number at its path"))
        };
        let left = number(&self.left, "remaining")?;
        let resets =
            time_of(&text_of(at(&self.resets, "reset")?)).ok_or_else(|| bad("reset", "has no time at its path"))?;
        let limit = self.limit.as_ref().map_or(Ok(left), |path| number(path, "limit"))?;
        Ok(Remaining { left, resets, limit, counted: true })
    }
}

impl Remaining {
    /// Updates the quota from a response. Responses arrive in any order and may be outdated: within a window the
    /// count only decreases, and a past window is ignored, unless the call was rejected because of it (`spent`).
    pub(super) fn learn(&mut self, left: Option<i64>, resets: Option<OffsetDateTime>, limit: Option<i64>, spent: bool) {
        if !self.counted {
            return;
        }
        if let Some(limit) = limit.filter(|limit| *limit > 0 && resets.is_none_or(|at| at >= self.resets)) {
            self.limit = limit;
        }
        match (resets.filter(|at| *at > self.resets), left) {
            (Some(at), left) => {
                self.resets = at;
                self.left = left.unwrap_or(self.limit);
            }
            (None, Some(left)) => {
                let refused = left <= 0 && spent;
                if refused || resets.is_none_or(|at| at >= self.resets - SKEW) {
                    self.left = self.left.min(left);
                }
            }
            (None, None) => {}
        }
    }
}

/// The definition of a pool as JSON.
pub(super) fn written(def: &TokenQuota) -> Json {
    let matchers = def.matchers.iter().flatten().map(|m| {
        json!([m.method, m.url_base, m.url_path_pattern, m.params, m.headers, m.weight.as_ref().map(|w| &w.value)])
    });
    json!([
        [json!(def.name), json!(def.remaining_path), json!(def.reset_path), json!(def.limit_path)],
        [&def.remaining_header, &def.reset_header, &def.limit_header],
        def.exhaustion_status_codes.as_deref().unwrap_or_default(),
        matchers.collect::<Vec<Json>>(),
    ])
}
