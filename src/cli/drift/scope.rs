//! The scope of `drift` verbs: one tenant by its config, or all tenants of a config folder or state directory.
//!
//! Input: the options. Output: a [`DriftScope`]: the source, its tenants and the locations of their files. Called by
//! the verbs of `drift`.

use std::path::{Path, PathBuf};

use serde_json::Map;

use super::ScopeArgs;
use crate::base::config;
use crate::base::fault::{Fault, Kind, Result, did_you_mean};
use crate::drift::across_tenants::{self, TenantDrift};
use crate::drift::overlay::OverlayFiles;
use crate::run::context::Context;
use crate::run::identity::state_dir_or_own;
use crate::run::load::{self, ConfiguredSource};
use crate::run::log::Level;
use crate::tenant::schedule::quote::shell as quoted;

/// A source, its tenants, and the selected ones.
pub(super) struct DriftScope {
    pub(super) source: String,
    /// Every tenant that is examined, with its state directory.
    all: Vec<(PathBuf, String)>,
    /// The selected tenants.
    pub(super) shown: Vec<String>,
    /// The configs with which the source is loaded; empty if only a state directory is given.
    pub(super) config: Vec<String>,
    /// Command-line arguments that select the same scope.
    pub(super) arguments: String,
    /// The most severe fault that made a tenant unreadable.
    pub(super) trouble: Option<Kind>,
}

/// The location of a config's tenant.
struct Placed {
    source: String,
    tenant: String,
    root: PathBuf,
}

/// Determines the scope.
pub(super) fn scope(context: &Context, asked: &ScopeArgs) -> Result<DriftScope> {
    let options = &context.options;
    // A source without a config means the sandbox's single tenant, unless a state directory is given.
    let is_one = !options.config.is_empty() || options.source.is_some() && options.state_dir.is_none();
    let mut scope = match &asked.tenants {
        Some(folder) => of_configs(context, folder)?,
        None if is_one => of_config(context)?,
        None => of_root(context, &state_dir_or_own(context, None)?)?,
    };
    if !asked.tenant.is_empty() {
        for name in &asked.tenant {
            let known = || scope.shown.iter().map(String::as_str);
            if !known().any(|known| known == name) {
                let fault = Fault::config(format!("no tenant `{name}` of {} is known", scope.source));
                return Err(match did_you_mean(name, known()) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault.hint(format!("known tenants: {}", known().collect::<Vec<_>>().join(", "))),
                });
            }
        }
        scope.shown.clone_from(&asked.tenant);
        scope.arguments += &format!(" --tenant {}", quoted(&asked.tenant.join(",")));
    }
    Ok(scope)
}

/// The tenant of the config; other tenants in the state directory show whether a change is the vendor's.
fn of_config(context: &Context) -> Result<DriftScope> {
    let placed = placed(context)?;
    let mut all = all_of(&placed.root, &placed.source)?;
    if !all.iter().any(|(_, tenant)| *tenant == placed.tenant) {
        all.push((placed.root, placed.tenant.clone()));
    }
    Ok(DriftScope {
        source: placed.source,
        all,
        shown: vec![placed.tenant],
        config: context.options.config.clone(),
        arguments: context.tenant_arguments(),
        trouble: None,
    })
}

/// All tenants with configs in the folder.
fn of_configs(context: &Context, folder: &Path) -> Result<DriftScope> {
    let (shown, paths) = (folder.display(), load::configs_in(folder)?);
    let (mut all, mut source, mut config, mut trouble) = (Vec::new(), None, Vec::new(), None::<Kind>);
    for path in &paths {
        let path = path.display().to_string();
        let mut own = context.clone();
        own.options.config = vec![path.clone()];
        // If the folder has tenants of several sources, those of the given source are selected.
        let own_source = config::partial(&own.options.config, own.origin(&Map::new())).source;
        if let (Some(named), Some(own_source)) = (&context.options.source, own_source)
            && *named != own_source
        {
            continue;
        }
        match placed(&own) {
            Ok(placed) => {
                let source = source.get_or_insert_with(|| placed.source.clone());
                if *source != placed.source {
                    return Err(Fault::config(format!("the configs in {shown} belong to several sources"))
                        .hint(format!("choose one: --source {source}, or --source {}", placed.source)));
                }
                all.push((placed.root, placed.tenant));
                config = vec![path];
            }
            Err(fault) => {
                context.log.line(Level::Error, &format!("{path}: {fault}"));
                trouble = trouble.into_iter().chain([fault.kind]).max_by_key(|kind| kind.severity_rank());
            }
        }
    }
    let Some(source) = source else {
        return Err(
            Fault::config(format!("{shown} has no usable config")).hint("put one config per tenant there, as *.json")
        );
    };
    let mut arguments = context.source_arguments();
    arguments.push(format!("--tenants {}", quoted(&folder.display().to_string())));
    let state_dir = context.options.state_dir.as_ref().map(|path| path.display().to_string());
    arguments.extend(state_dir.map(|path| format!("--state-dir {}", quoted(&path))));
    let names = all.iter().map(|(_, tenant)| tenant.clone()).collect();
    Ok(DriftScope { source, all, shown: names, config, arguments: arguments.join(" "), trouble })
}

/// All tenants with saved drift.
fn of_root(context: &Context, root: &Path) -> Result<DriftScope> {
    if !root.is_dir() {
        return Err(Fault::config(format!("the state directory {} does not exist", root.display())));
    }
    let source = if context.named_source().is_some() {
        load::manifest(context, None)?.name.to_string()
    } else {
        let mut sources = across_tenants::sources(root)?;
        match (sources.len(), sources.pop()) {
            (1, Some(only)) => only,
            (_, None) => {
                return Err(Fault::config(format!("{} has no drift data", root.display()))
                    .hint("set the state directory of the runs: --state-dir DIR, or DRIPFEED_STATE_DIR"));
            }
            (_, Some(last)) => {
                sources.push(last);
                return Err(Fault::config(format!("{} has drift data of several sources", root.display()))
                    .hint(format!("choose one with --source: {}", sources.join(", "))));
            }
        }
    };
    let all = all_of(root, &source)?;
    let mut arguments = context.source_arguments();
    arguments.push(format!("--state-dir {}", quoted(&root.display().to_string())));
    let shown = all.iter().map(|(_, tenant)| tenant.clone()).collect();
    Ok(DriftScope { source, all, shown, config: Vec::new(), arguments: arguments.join(" "), trouble: None })
}

/// The location of the config's tenant.
fn placed(context: &Context) -> Result<Placed> {
    let ConfiguredSource { identity, config, .. } = context.configured()?;
    Ok(Placed {
        source: identity.source,
        tenant: identity.tenant,
        root: state_dir_or_own(context, config.ours.state_dir.as_ref())?,
    })
}

fn all_of(root: &Path, source: &str) -> Result<Vec<(PathBuf, String)>> {
    Ok(across_tenants::tenants(root, source)?.into_iter().map(|tenant| (root.to_owned(), tenant)).collect())
}

impl DriftScope {
    /// The saved drift of every examined tenant.
    pub(super) fn read_all(&self) -> Result<Vec<TenantDrift>> {
        self.all.iter().map(|(root, tenant)| across_tenants::read(root, &self.source, tenant)).collect()
    }

    /// The saved drift of the selected tenants, with their state directories.
    pub(super) fn read_shown(&self) -> Result<Vec<(&Path, TenantDrift)>> {
        let shown = self.all.iter().filter(|(_, tenant)| self.shown.contains(tenant));
        shown.map(|(root, tenant)| Ok((&**root, across_tenants::read(root, &self.source, tenant)?))).collect()
    }

    /// The files of a tenant's stream.
    pub(super) fn overlay_files(&self, root: &Path, tenant: &str, stream: &str) -> OverlayFiles {
        OverlayFiles::new(root, &self.source, tenant, stream)
    }
}

/// Is this stream selected?
pub(super) fn wants(context: &Context, stream: &str) -> bool {
    context.options.streams.is_empty() || context.options.streams.iter().any(|name| name == stream)
}
