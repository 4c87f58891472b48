//! One fault, or every fault and warning of a manifest.
//!
//! Input: faults and warnings, as reading meets them. Output: the first fault as an error, or all of both where
//! [`examine`] reads. Called by the reading of nodes; `examine` by `lint`.

use std::cell::RefCell;

use super::{Node, Place, Read};
use crate::base::fault::{Fault, Result};

/// What reading met.
#[derive(Debug, Default)]
struct Findings {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

thread_local! {
    /// The findings so far, where all are wanted.
    static FINDINGS: RefCell<Option<Findings>> = const { RefCell::new(None) };
}

/// A node with all that is wrong with it.
#[derive(Debug)]
pub struct Reading<T> {
    /// What was read; it counts only without a fault.
    pub read: Option<T>,
    /// What loading refuses.
    pub faults: Vec<Fault>,
    /// What loading passes over.
    pub warnings: Vec<Fault>,
}

/// Reads a node and gives every fault, where `T::read` stops at the first.
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

/// Goes on after a fault where all are wanted; else it is the end.
pub(super) fn note(fault: Fault) -> Result<()> {
    FINDINGS.with_borrow_mut(|findings| match findings {
        Some(findings) => {
            findings.faults.push(fault);
            Ok(())
        }
        None => Err(fault),
    })
}

/// Are warnings wanted? Their texts cost time that loading does not spend.
pub(super) fn warnings_wanted() -> bool {
    FINDINGS.with_borrow(Option::is_some)
}

/// Notes a warning where all are wanted.
pub(super) fn warn(warning: Fault) {
    FINDINGS.with_borrow_mut(|findings| findings.iter_mut().for_each(|all| all.warnings.push(warning.clone())));
}

/// Ends with the last of a component's faults; those before it are noted.
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
