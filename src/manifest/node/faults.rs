//! One fault, or every fault of a manifest.
//!
//! Comes in: faults, as reading meets them. Goes out: the first as an error, or all of them where [`every_fault`]
//! reads. Called by the reading of nodes; `every_fault` by `lint`.

use std::cell::RefCell;

use super::{Node, Place, Read};
use crate::base::fault::{Fault, Result};

thread_local! {
    /// The faults so far, where all are wanted.
    static FAULTS: RefCell<Option<Vec<Fault>>> = const { RefCell::new(None) };
}

/// Reads a node and gives every fault, where `T::read` stops at the first; what was read counts only without one.
pub fn every_fault<T: Read>(node: &Node, at: &Place) -> (Option<T>, Vec<Fault>) {
    FAULTS.set(Some(Vec::new()));
    let (read, last) = match T::read(node, at) {
        Ok(read) => (Some(read), None),
        Err(fault) => (None, Some(fault)),
    };
    (read, FAULTS.take().into_iter().flatten().chain(last).collect())
}

/// Goes on after a fault where all are wanted; else it is the end.
pub(super) fn note(fault: Fault) -> Result<()> {
    FAULTS.with_borrow_mut(|faults| match faults {
        Some(faults) => {
            faults.push(fault);
            Ok(())
        }
        None => Err(fault),
    })
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
