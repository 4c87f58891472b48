//! Collects the first fault, or all faults and warnings of a manifest.
//!
//! Input: faults and warnings during reading. Output: the first fault as an error, or all of both if [`examine`]
//! reads. Called while nodes are read; `examine` by `lint`.

use std::cell::RefCell;

use super::{Node, Place, Read};
use crate::base::fault::{Fault, Result};

/// The findings of reading.
#[derive(Debug, Default)]
struct Findings {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

thread_local! {
    /// The findings so far, if all are wanted.
    static FINDINGS: RefCell<Option<Findings>> = const { RefCell::new(None) };
}

/// A node with all its faults and warnings.
#[derive(Debug)]
pub struct Reading<T> {
    /// The value; valid only without faults.
    pub read: Option<T>,
    /// Problems that loading refuses.
    pub faults: Vec<Fault>,
    /// Problems that loading tolerates.
    pub warnings: Vec<Fault>,
}

/// Reads a node and collects every fault; `T::read` stops at the first.
pub fn examine<T: Read>(node: &Node, at: &Place) -> Reading<T> {
    FINDINGS.set(Some(Findings::default()));
    let (read, last) = match T::read(node, at) {
        Ok(read) => (Some(read), None),
        Err(fault) => (None, Some(fault)),
    };
    let Findings { mut faults, warnings } = FINDINGS.take().unwrap_or_default();
    faults.extend(last);
    Reading { read, faults, warnings }
}

/// Stores a fault if all are wanted; otherwise returns it as an error.
pub(super) fn note(fault: Fault) -> Result<()> {
    FINDINGS.with_borrow_mut(|findings| match findings {
        Some(findings) => {
            findings.faults.push(fault);
            Ok(())
        }
        None => Err(fault),
    })
}

/// Are warnings wanted? Loading skips the cost of their texts.
pub(super) fn warnings_wanted() -> bool {
    FINDINGS.with_borrow(Option::is_some)
}

/// Stores a warning if all are wanted.
pub(super) fn warn(warning: Fault) {
    FINDINGS.with_borrow_mut(|findings| findings.iter_mut().for_each(|all| all.warnings.push(warning.clone())));
}

/// Returns the last fault of a component; earlier ones are stored.
pub fn last_of<const N: usize>(faults: [Option<Fault>; N]) -> Result<()> {
    let mut faults = faults.into_iter().flatten().peekable();
    while let Some(fault) = faults.next() {
        if faults.peek().is_none() {
            return Err(fault);
        }
        note(fault)?;
    }
    Ok(())
}
