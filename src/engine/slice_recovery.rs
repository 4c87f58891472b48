//! Recovery of a slice that the vendor cannot serve as requested: start over, request smaller pages or shorter
//! windows.
//!
//! Input: a retriever's definition; then each such response. Output: how to continue, or the fault that ends the
//! slice. Called by [`super::slice_reader`]. Rules and limits are those of airbyte-cdk's `SimpleRetriever`.

use std::time::Duration;

use time::OffsetDateTime;

use crate::base::display::number_of;
use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::base::timefmt::Period;
use crate::engine::cursor::{CursorPlan, Window};
use crate::engine::fetch::retry::{ErrorPlan, Remedy};
use crate::engine::page::{PagePlan, Pager};
use crate::manifest::model::{self, SimpleRetriever};
use crate::manifest::template::EvalContext;

/// The maximum nesting of window splits.
const MAX_DEPTH: u32 = 10;

/// The compiled recovery options of a retriever.
#[derive(Debug, Clone, Default)]
pub struct RecoveryPolicy {
    /// Starts over from the newest record instead of from the beginning.
    from_newest: bool,
    /// The number of records after which the slice starts over.
    records: Option<u64>,
    reduction: Option<Reduction>,
    splitting: Option<Splitting>,
}

#[derive(Debug, Clone)]
struct Reduction {
    factor: f64,
    minimum: u64,
    attempts: u64,
    backoff: f64,
    retries: u64,
    message: String,
    /// Is the page size restored after a successful page?
    restores: bool,
}

#[derive(Debug, Clone)]
struct Splitting {
    message: String,
    shortest: Option<time::Duration>,
}

/// Compiles the recovery options of a retriever, together with its other parts.
pub(super) fn build(
    def: &SimpleRetriever,
    errors: &ErrorPlan,
    pages: &PagePlan,
    cursor: Option<&CursorPlan>,
    cx: &EvalContext,
) -> Result<RecoveryPolicy> {
    let mut out = RecoveryPolicy::default();
    if let Some(reset) = &def.pagination_reset {
        out.from_newest = match &*reset.action {
            "RESET" => false,
            "SPLIT_USING_CURSOR" => true,
            other => {
                let fault = reset.at.field("action", None).fault(format!("`action: {other}` does not exist"));
                return Err(fault.hint("it can be RESET or SPLIT_USING_CURSOR"));
            }
        };
        out.records = reset.limits.as_ref().and_then(|limits| limits.number_of_records);
        if reset.limits.is_some() && def.record_selector.record_filter.is_some() {
            return Err(reset.at.fault("`limits` cannot be combined with a `record_filter`, which changes the count"));
        }
    }
    for (remedy, action, block, exists) in [
        (Remedy::SmallerPages, "REDUCE_PAGE_SIZE", "page_size_reduction", def.page_size_reduction.is_some()),
        (
            Remedy::ShorterWindows,
            "SPLIT_REQUEST_WINDOW",
            "request_window_splitting",
            def.request_window_splitting.is_some(),
        ),
    ] {
        if errors.names(remedy) && !exists {
            let fault = def.at.fault(format!("a response filter uses {action}, but `{block}` is missing"));
            return Err(fault.hint(format!("add `{block}` to the retriever")));
        }
    }
    if let Some(reduction) = &def.page_size_reduction {
        out.reduction = Some(reduce(reduction, pages, cx)?);
    }
    if let Some(splitting) = &def.request_window_splitting {
        let Some(cursor) = cursor.filter(|cursor| !cursor.counts()) else {
            return Err(splitting.at.fault("recovery with shorter windows needs a DatetimeBasedCursor"));
        };
        cursor.check_splittable(&splitting.at)?;
        out.splitting =
            Some(Splitting { message: extra(splitting.failure_message.as_deref()), shortest: shortest(splitting)? });
    }
    Ok(out)
}

fn reduce(def: &model::PageSizeReduction, pages: &PagePlan, cx: &EvalContext) -> Result<Reduction> {
    let factor = def.reduction_factor.unwrap_or(2.0);
    if factor.is_nan() || factor <= 1.0 {
        return Err(def.at.field("reduction_factor", None).fault("`reduction_factor` must be more than 1"));
    }
    let restores = match def.reset_policy.as_deref() {
        None | Some("NEVER") => false,
        Some("AFTER_SUCCESSFUL_PAGE") => true,
        Some(other) => {
            let fault = def.at.field("reset_policy", None).fault(format!("`reset_policy: {other}` does not exist"));
            return Err(fault.hint("it can be NEVER or AFTER_SUCCESSFUL_PAGE"));
        }
    };
    let minimum = def.minimum_page_size.unwrap_or(1).max(1);
    pages.check_reducible(minimum, &def.at, cx)?;
    Ok(Reduction {
        factor,
        minimum,
        attempts: def.max_attempts.unwrap_or(5),
        backoff: def.backoff_seconds.unwrap_or(0.5).max(0.0),
        retries: def.retries_at_minimum_page_size.unwrap_or(0),
        message: extra(def.failure_message.as_deref()),
        restores,
    })
}

fn shortest(def: &model::RequestWindowSplitting) -> Result<Option<time::Duration>> {
    let Some(written) = def.min_split_window.as_deref() else { return Ok(None) };
    let at = || def.at.field("min_split_window", None);
    let period = Period::parse(written).map_err(|e| at().fault(e))?;
    if period.months != 0 || !period.exact.is_positive() {
        return Err(at().fault("`min_split_window` must be a duration of fixed length, without months or years"));
    }
    Ok(Some(period.exact))
}

/// The manifest's message, appended to ours.
fn extra(message: Option<&str>) -> String {
    match message.map(str::trim) {
        None | Some("") => String::new(),
        Some(text) => format!(" {text}"),
    }
}

impl Reduction {
    /// The wait, which grows each time.
    fn wait(&self, times: u64) -> Duration {
        #[allow(clippy::cast_precision_loss)]
        let seconds = self.backoff * times as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// A window with its cursor.
#[derive(Debug, Clone, Copy)]
pub struct CursorWindow<'c> {
    /// The cursor.
    pub cursor: &'c CursorPlan,
    /// The window.
    pub window: Window,
}

impl CursorWindow<'_> {
    /// The rest of the window after records up to `newest` were read.
    fn rest(&self, newest: Option<OffsetDateTime>) -> Window {
        self.cursor.rest(&self.window, newest)
    }

    /// Splits the window in two, unless it already has the shortest length.
    fn halves(&self, shortest: Option<time::Duration>) -> Option<[Window; 2]> {
        self.cursor.halves(&self.window, shortest)
    }
}

/// The recovery history of a slice.
#[derive(Debug, Default)]
pub struct RecoveryState {
    /// The number of restarts without progress.
    resets: u32,
    /// Records since the last start.
    records: u64,
    reductions: u64,
    retries: u64,
    reduced: bool,
}

impl RecoveryState {
    /// Called when the slice is read again for a reason other than a vendor's rejection.
    pub fn read_again(&mut self) {
        self.records = 0;
    }
}

impl RecoveryPolicy {
    /// A page was read: the page size may be restored. Returns true if the slice must start over.
    pub fn page_read(&self, history: &mut RecoveryState, pager: &mut Pager<'_>, records: u64) -> bool {
        history.records += records;
        (history.reductions, history.retries) = (0, 0);
        if self.reduction.as_ref().is_some_and(|reduction| reduction.restores) {
            pager.ask_for(None);
        }
        self.records.is_some_and(|limit| history.records >= limit)
    }

    /// Starts the slice over; returns the rest of its window.
    ///
    /// # Errors
    /// The slice started over too many times.
    pub fn reset(
        &self,
        history: &mut RecoveryState,
        window: Option<CursorWindow<'_>>,
        newest: Option<OffsetDateTime>,
        reason: &str,
    ) -> Result<Option<Window>> {
        history.records = 0;
        let shrinking = window.filter(|_| self.from_newest);
        let rest = shrinking.map_or_else(|| window.map(|w| w.window), |w| Some(w.rest(newest)));
        let shorter = shrinking.is_some_and(|window| rest != Some(window.rest(None)));
        if shorter {
            history.resets = 0;
            return Ok(rest);
        }
        history.resets += 1;
        let max_resets = if shrinking.is_some() { 1 } else { 2 };
        if history.resets >= max_resets {
            return Err(Fault::data(format!("the slice would start over forever: {reason}"))
                .hint("the vendor may limit how many records one query returns: read smaller slices (`step`)"));
        }
        Ok(rest)
    }

    /// Reduces the page size; returns the wait.
    ///
    /// # Errors
    /// Pages already have the minimum size.
    pub fn reduce(&self, history: &mut RecoveryState, pager: &mut Pager<'_>) -> Result<Duration> {
        let (Some(plan), Some(size)) = (&self.reduction, pager.page_size()) else {
            return Err(Fault::bug("smaller pages without `page_size_reduction`"));
        };
        let fault = |message: String| {
            let fault = Fault::new(Kind::Unavailable, format!("{message}{}", plan.message));
            fault.hint("lower `minimum_page_size`, or request fewer fields")
        };
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let smaller = ((size as f64 / plan.factor) as u64).max(plan.minimum);
        if smaller >= size {
            if history.retries < plan.retries {
                history.retries += 1;
                return Ok(plan.wait(history.retries));
            }
            if !history.reduced && plan.minimum > 1 {
                let message = format!("the page size {size} is not above `minimum_page_size` ({})", plan.minimum);
                return Err(Fault::data(message.clone())
                    .hint("raise the page size in the config")
                    .airbyte_message(message, Failure::Config));
            }
            return Err(fault(format!("the vendor refuses even the smallest pages, of {}", number_of(size, "record"))));
        }
        history.reductions += 1;
        if history.reductions > plan.attempts {
            return Err(fault(format!(
                "the vendor keeps refusing smaller pages, down to {}",
                number_of(size, "record")
            )));
        }
        history.reduced = true;
        pager.ask_for(Some(smaller));
        Ok(plan.wait(history.reductions))
    }

    /// Splits a window, which was split `depth` times before, into two.
    ///
    /// # Errors
    /// The window already has the minimum length.
    pub fn split(&self, window: Option<CursorWindow<'_>>, depth: u32) -> Result<[Window; 2]> {
        let (Some(plan), Some(window)) = (&self.splitting, window) else {
            return Err(Fault::bug("shorter windows without `request_window_splitting`"));
        };
        let fault = |message: String| Fault::new(Kind::Unavailable, format!("{message}{}", plan.message));
        if depth >= MAX_DEPTH {
            return Err(fault(format!("the vendor refuses the window even after it was split {MAX_DEPTH} times")));
        }
        let halves = window.halves(plan.shortest);
        halves.ok_or_else(|| fault("the vendor refuses the window, which cannot be shorter".to_owned()))
    }
}
