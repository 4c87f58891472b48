//! The bookmarks of one target, separate from those of the tenant's other targets.
//!
//! Input: the run's target, and the contents of the state directory. Output: the document that the run resumes from.
//! A target without one starts from the beginning, unless it adopts another target's bookmarks. Called by `sync`
//! before anything is read.

use std::path::PathBuf;

use serde_json::json;

use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;
use crate::protocol::state::StateDoc;
use crate::run::context::Context;
use crate::run::identity::RunIdentity;
use crate::run::log::Level;
use crate::run::read::{PreparedRun, fresh};
use crate::tenant::bookmarks::{self, Bookmarks, StateFile, TargetFiles};
use crate::tenant::reread_marks;
use crate::tenant::target_command::TargetCommand;

/// Where a run's bookmarks are stored.
pub(super) enum TargetBookmarks {
    /// In a file that the user chose, for any target.
    File(PathBuf),
    /// In the state directory, separately for each target.
    Target {
        /// The files of the tenant's targets.
        files: TargetFiles,
        /// The identity of the target.
        id: String,
    },
}

impl TargetBookmarks {
    /// The store of a target: `--state FILE`, else the state directory.
    pub(super) fn of(context: &Context, identity: &RunIdentity, id: String) -> Result<TargetBookmarks> {
        if let Some(path) = &context.options.state {
            return Ok(TargetBookmarks::File(path.clone()));
        }
        let root = identity.root.as_ref().ok_or_else(|| {
            Fault::config("there is no folder to save bookmarks in")
                .hint("set dripfeed.state_dir in the config, or pass a file with --state")
        })?;
        Ok(TargetBookmarks::Target { files: TargetFiles::new(root, &identity.source, &identity.tenant), id })
    }

    /// The store of live runs, or of backfills.
    pub(super) fn file(&self, backfill: bool) -> Result<StateFile> {
        match self {
            TargetBookmarks::File(path) => StateFile::at(path, backfill),
            TargetBookmarks::Target { files, id } => files.of(id, backfill),
        }
    }

    /// A document without bookmarks, in the stored form.
    pub(super) fn fresh(&self, context: &Context, ready: &PreparedRun) -> StateDoc {
        let doc = fresh(context, &ready.loaded);
        match self {
            TargetBookmarks::File(_) => doc,
            TargetBookmarks::Target { id, .. } => doc.of_target(id),
        }
    }

    /// The store, and the document that the run resumes from; `reset` names streams that start over.
    pub(super) fn open(
        &self,
        context: &Context,
        ready: &PreparedRun,
        reset: &[String],
    ) -> Result<(StateFile, StateDoc)> {
        let store = self.file(context.options.backfill.is_some())?;
        let doc = bookmarks::load(&store, fresh(context, &ready.loaded), reset)?;
        bookmarks::prepare(&store, &context.stop)?;
        if let TargetBookmarks::Target { files, id } = self {
            announce(context, ready, (files, id), &doc)?;
        }
        Ok((store, doc))
    }

    /// The target has loaded everything: bookmarks that were stored without a target now belong to it.
    pub(super) fn claim(&self, context: &Context) -> Result<()> {
        match self {
            TargetBookmarks::Target { files, id } if context.options.limit.is_none() => {
                bookmarks::claim(&files.of(id, false)?, id, &Stop::default())
            }
            _ => Ok(()),
        }
    }

    /// Moves the bookmarks of the run's streams from another target to this one; the other target then starts over.
    pub(super) fn adopt(&self, context: &Context, ready: &PreparedRun, other: &str) -> Result<()> {
        let TargetBookmarks::Target { files, id } = self else {
            return Err(Fault::config("--adopt works with the state directory and cannot be combined with --state")
                .hint("pass the state file of the other target's runs"));
        };
        let identity = &ready.loaded.identity;
        let named = TargetCommand::parse(other).map(|command| command.filled(&identity.tenant, &identity.source));
        let named = named.map(|command| command.id(|text| hidden(ready, text)));
        let all = files.targets()?;
        let owner = named.ok().into_iter().chain([other.to_owned()]).find(|owner| all.contains(owner) && owner != id);
        let refused = |what: &str| {
            let known: Vec<String> =
                all.iter().filter(|known| *known != id).map(|known| format!("`{known}`")).collect();
            let fault = Fault::config(format!("--adopt {other}: {what}"));
            fault.hint(if known.is_empty() {
                "no other target of this tenant has bookmarks".to_owned()
            } else {
                format!("targets with bookmarks: {}; after an adoption, remove --adopt", known.join(", "))
            })
        };
        let Some(owner) = owner else {
            // Bookmarks from versions without targets belong to the first target that claims them.
            return if files.is_unclaimed()? { Ok(()) } else { Err(refused("that target has no saved bookmarks")) };
        };
        let mut adopted = 0;
        for backfill in [false, true] {
            let (from, to) = (files.of(&owner, backfill)?, files.of(id, backfill)?);
            let doc = if backfill { live_doc(context, ready).of_backfills() } else { live_doc(context, ready) };
            let stored = bookmarks::load(&from, doc.clone(), &[])?;
            let streams = ready.names();
            let taken = streams.iter().filter_map(|name| Some((name.clone(), Some(stored.bookmark(name)?.clone()))));
            let taken: Bookmarks = taken.collect();
            if !taken.is_empty() {
                adopted += taken.len();
                // In this order: a process killed in between leaves the bookmarks with both targets.
                bookmarks::keep(&to, &doc.clone().of_target(id), &taken, &context.stop)?;
                let gone: Bookmarks = taken.into_keys().map(|name| (name, None)).collect();
                bookmarks::keep(&from, &doc.clone().of_target(&owner), &gone, &context.stop)?;
            }
            if backfill {
                for (stream, mark) in reread_marks::read(&from)?.iter().filter(|(name, _)| streams.contains(name)) {
                    reread_marks::begins(&to, &doc, std::slice::from_ref(stream), mark, &context.stop)?;
                }
            }
        }
        if adopted == 0 {
            return Err(refused("it has no bookmarks of these streams"));
        }
        let message = format!("`{id}` takes over the bookmarks of the target `{owner}`");
        context.log.event(Level::Info, &message, "bookmarks_adopted", &json!({"from": owner, "to": id}));
        Ok(())
    }
}

/// A document of live runs, without a target.
fn live_doc(context: &Context, ready: &PreparedRun) -> StateDoc {
    fresh(context, &ready.loaded).of_live_runs()
}

/// A text with the config's secrets redacted.
fn hidden(ready: &PreparedRun, text: &str) -> String {
    ready.loaded.config.secrets.hide(text)
}

/// The identity of the run's target: its name in the config, else its command without secrets.
pub(super) fn id(ready: &PreparedRun, command: &TargetCommand) -> String {
    let named = ready.loaded.config.ours.target_id.clone();
    named.unwrap_or_else(|| command.id(|text| hidden(ready, text)))
}

/// Logs that a target starts from the beginning although another target has bookmarks.
fn announce(context: &Context, ready: &PreparedRun, (files, id): (&TargetFiles, &str), doc: &StateDoc) -> Result<()> {
    let names = ready.names();
    let begins = names.iter().all(|name| doc.bookmark(name).is_none());
    if !begins || context.options.full_refresh || context.options.limit.is_some() {
        return Ok(());
    }
    let others: Vec<String> = files.targets()?.into_iter().filter(|other| other != id).collect();
    if let Some(other) = others.first() {
        let message = format!(
            "the target `{id}` is new: everything is loaded from the start date. Only if it is the same warehouse \
             under another command, --adopt '{other}' takes over the bookmarks of that target instead"
        );
        context.log.event(Level::Info, &message, "new_target", &json!({"target": id, "others": others}));
    }
    Ok(())
}
