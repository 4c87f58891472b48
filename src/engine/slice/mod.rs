//! Partitions: which sets of requests a stream needs, apart from paging.
//!
//! Input: partition routers' definitions; then, for routers over other streams, those streams' records. Output:
//! [`Partition`]s, one by one. Called by `scheduler` and `parents`. The rules are those of airbyte-cdk's partition
//! routers and of its `CartesianProductStreamSlicer`.

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use crate::base::fault::{Fault, Result};
use crate::manifest::dpath;
use crate::manifest::jinja::Value;
use crate::manifest::model::{self, ParentStreamConfig};
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{EvalContext, Injection, RequestOptions, Template, Types, Vars, text_of};

/// A part of a stream that is read separately.
#[derive(Debug, Clone, Default)]
pub struct Partition {
    /// The identity of the partition, under which the state stores it.
    pub key: Map<String, Json>,
    /// Additional values for templates; neither stored nor shown.
    pub context: Map<String, Json>,
    /// Extra fields of the parent record, by name.
    pub extra: Map<String, Json>,
    /// The request options of the partition.
    pub options: RequestOptions,
    /// The first page, if the parent record contains it.
    pub first_page: Option<Json>,
}

/// A compiled partition router.
#[derive(Debug, Clone)]
pub enum Router {
    /// No router: a single partition without identity.
    One,
    /// One partition per value.
    List {
        /// The values.
        values: Values,
        /// The name of the partition field.
        field: String,
        /// Where the value is injected into the request.
        inject: Option<Injection>,
    },
    /// One partition per record of the parent streams.
    Parents(Vec<ParentPlan>),
    /// All combinations; the first router varies slowest.
    Product(Vec<Router>),
    /// Groups partitions of another router, a fixed number at a time.
    Group {
        /// The other router.
        of: Box<Router>,
        /// The size of a group.
        size: usize,
        /// Are duplicate values dropped?
        once: bool,
    },
    /// The partitions of several routers without duplicate values, under one field name.
    Union(Vec<Router>, String),
}

/// The values of a list router.
#[derive(Debug, Clone)]
pub enum Values {
    /// A literal list.
    Given(Vec<Json>),
    /// A template.
    Template(Template),
}

/// A compiled parent of a substream.
#[derive(Debug, Clone)]
pub struct ParentPlan {
    /// The index of the parent among the stream's parents, in manifest order.
    pub parent: usize,
    /// Does the stream's state include the parent's state?
    pub incremental: bool,
    path: Vec<String>,
    field: String,
    inject: Option<Injection>,
    extra: Vec<Vec<String>>,
    embedded: Option<Vec<String>>,
    at: Place,
}

/// Reads parent streams for their children.
pub trait Parents {
    /// Reads the parent with index `parent`; `each` receives its records, each with its partition.
    fn read(&self, parent: usize, each: &mut dyn FnMut(&Json, &Map<String, Json>) -> Result<()>) -> Result<()>;

    /// Is the first page taken from a parent record that contains it?
    fn embed(&self) -> bool;
}

/// Compiles a stream's routers. Parents are numbered in manifest order. A list with one router is a product of one,
/// as in the reference: it stores no state of parents.
pub fn build(defs: &[model::PartitionRouter], is_list: bool, cx: &EvalContext) -> Result<Router> {
    let mut parents = 0;
    let mut routers = defs.iter().map(|def| router(def, &mut parents, cx)).collect::<Result<Vec<_>>>()?;
    Ok(match routers.len() {
        0 => Router::One,
        1 if !is_list || routers[0].is_grouped() => routers.remove(0),
        _ => Router::Product(routers),
    })
}

fn router(def: &model::PartitionRouter, parents: &mut usize, cx: &EvalContext) -> Result<Router> {
    Ok(match def {
        model::PartitionRouter::ListPartitionRouter(def) => {
            let values = match &def.values.value {
                Json::Array(items) => Values::Given(items.clone()),
                _ => Values::Template(Template::compile(&def.values, &[])?),
            };
            let field = Template::compile(&def.cursor_field, &[])?.text(&Vars::new(cx))?;
            Router::List {
                values,
                field,
                inject: def.request_option.as_ref().map(|o| Injection::build(o, cx)).transpose()?,
            }
        }
        model::PartitionRouter::SubstreamPartitionRouter(def) => {
            if def.parent_stream_configs.is_empty() {
                return Err(def.at.fault("`parent_stream_configs` is empty"));
            }
            let plans = def.parent_stream_configs.iter().map(|config| {
                *parents += 1;
                parent(config, *parents - 1, cx)
            });
            Router::Parents(plans.collect::<Result<_>>()?)
        }
        model::PartitionRouter::GroupingPartitionRouter(def) => {
            let at = |field| def.at.field(field, None);
            if matches!(&*def.underlying_partition_router, model::PartitionRouter::GroupingPartitionRouter(_)) {
                return Err(
                    at("underlying_partition_router").fault("a grouped router cannot group another grouped router")
                );
            }
            let of = router(&def.underlying_partition_router, parents, cx)?;
            if of.injects() {
                return Err(at("underlying_partition_router")
                    .fault("a grouped router cannot have a `request_option`")
                    .hint("use the values where the request is defined: `{{ stream_partition[...] | join(',') }}`"));
            }
            let size = usize::try_from(def.group_size).unwrap_or(usize::MAX);
            if size == 0 {
                return Err(at("group_size").fault("`group_size` must be at least 1"));
            }
            Router::Group { of: Box::new(of), size, once: def.deduplicate.unwrap_or(true) }
        }
        model::PartitionRouter::UnionPartitionRouter(def) => {
            let at = def.at.field("partition_routers", None);
            let field = Template::compile(&def.partition_field, &[])?.text(&Vars::new(cx))?;
            let routers = def.partition_routers.iter().map(|r| router(r, parents, cx)).collect::<Result<Vec<_>>>()?;
            if routers.len() < 2 {
                return Err(at.fault("a union needs at least two routers"));
            }
            for router in &routers {
                if let Some(other) = router.fields().into_iter().find(|other| **other != field) {
                    return Err(
                        at.fault(format!("all routers of a union must name their value `{field}`, not `{other}`"))
                    );
                }
                if router.injects() {
                    return Err(at.fault("a router of a union cannot have a `request_option`"));
                }
            }
            Router::Union(routers, field)
        }
    })
}

fn parent(def: &ParentStreamConfig, number: usize, cx: &EvalContext) -> Result<ParentPlan> {
    let vars = Vars::new(cx);
    let name = |t: &Text| Template::compile(t, &[])?.text(&vars);
    let embedded = |path: &[Text]| -> Result<Vec<String>> {
        let path = path.iter().map(name).collect::<Result<Vec<_>>>()?;
        if path.iter().any(|segment| dpath::is_glob(segment)) {
            return Err(def.at.field("lazy_read_pointer", None).fault("`lazy_read_pointer` cannot contain globs"));
        }
        Ok(path)
    };
    Ok(ParentPlan {
        parent: number,
        incremental: def.incremental_dependency.unwrap_or(false),
        path: name(&def.parent_key)?.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
        field: name(&def.partition_field)?,
        inject: def.request_option.as_ref().map(|o| Injection::build(o, cx)).transpose()?,
        extra: def.extra_fields.clone().unwrap_or_default(),
        embedded: def.lazy_read_pointer.as_deref().map(embedded).transpose()?,
        at: def.parent_key.at.clone(),
    })
}

impl Router {
    /// Is there a router?
    pub fn is_some(&self) -> bool {
        !matches!(self, Router::One)
    }

    /// The parents of the partitions. Empty for a product: the reference stores no state of parents there.
    pub fn parents(&self) -> Vec<&ParentPlan> {
        match self {
            Router::Parents(plans) => plans.iter().collect(),
            Router::Group { of, .. } => of.parents(),
            Router::Union(routers, _) => routers.iter().flat_map(Router::parents).collect(),
            Router::One | Router::List { .. } | Router::Product(_) => Vec::new(),
        }
    }

    /// Does the stream's state include state of parents?
    pub fn tells_parents(&self) -> bool {
        match self {
            Router::Parents(_) | Router::Union(..) => true,
            Router::Group { of, .. } => of.tells_parents(),
            Router::One | Router::List { .. } | Router::Product(_) => false,
        }
    }

    /// Are only changed parents read? Without a cursor the stream has no place to store what changed.
    pub fn depends_incrementally(&self) -> bool {
        match self {
            Router::Parents(plans) => plans.iter().any(|plan| plan.incremental),
            Router::Product(routers) | Router::Union(routers, _) => routers.iter().any(Router::depends_incrementally),
            Router::Group { of, .. } => of.depends_incrementally(),
            Router::One | Router::List { .. } => false,
        }
    }

    /// Does one cursor cover all partitions? Groups differ from run to run.
    pub fn is_grouped(&self) -> bool {
        matches!(self, Router::Group { .. })
    }

    /// Does the router inject values into requests by itself?
    fn injects(&self) -> bool {
        match self {
            Router::List { inject, .. } => inject.is_some(),
            Router::Parents(plans) => plans.iter().any(|p| p.inject.is_some()),
            Router::Product(routers) | Router::Union(routers, _) => routers.iter().any(Router::injects),
            Router::Group { of, .. } => of.injects(),
            Router::One => false,
        }
    }

    /// The number of partitions, if it is known without a request.
    pub fn count(&self, vars: &Vars<'_>) -> Option<usize> {
        match self {
            Router::One => Some(1),
            Router::List { values, .. } => values.all(vars).ok().map(|values| values.len()),
            Router::Product(routers) => routers.iter().map(|router| router.count(vars)).product(),
            Router::Group { of, size, .. } => of.count(vars).map(|count| count.div_ceil(*size)),
            Router::Parents(_) | Router::Union(..) => None,
        }
    }

    /// The names of the partition fields.
    fn fields(&self) -> Vec<&String> {
        match self {
            Router::List { field, .. } | Router::Union(_, field) => vec![field],
            Router::Parents(plans) => plans.iter().map(|p| &p.field).collect(),
            Router::Product(routers) => routers.iter().flat_map(Router::fields).collect(),
            Router::Group { of, .. } => of.fields(),
            Router::One => Vec::new(),
        }
    }

    /// Passes every partition to `emit`.
    pub fn each(
        &self,
        parents: &dyn Parents,
        vars: &Vars<'_>,
        emit: &mut dyn FnMut(Partition) -> Result<()>,
    ) -> Result<()> {
        match self {
            Router::One => emit(Partition::default()),
            Router::List { values, field, inject } => {
                for value in values.all(vars)? {
                    let mut options = RequestOptions::default();
                    if let Some(inject) = inject
                        && is_truthy(&value)
                    {
                        inject.put(value.clone(), &mut options);
                    }
                    emit(Partition { key: Map::from_iter([(field.clone(), value)]), options, ..Partition::default() })?;
                }
                Ok(())
            }
            Router::Parents(plans) => {
                for plan in plans {
                    let (mut came, mut without) = (0_u64, 0_u64);
                    parents.read(plan.parent, &mut |record, slice| {
                        came += 1;
                        match plan.key(record) {
                            ParentKey::Value(Json::Array(_)) => Err(plan.leads_to_a_list()),
                            ParentKey::Value(value) => emit(plan.partition(value, record, slice, parents.embed())),
                            ParentKey::Null => Ok(()),
                            ParentKey::Absent => {
                                without += 1;
                                Ok(())
                            }
                        }
                    })?;
                    if came > 0 && came == without {
                        return Err(plan.leads_nowhere(came));
                    }
                }
                Ok(())
            }
            Router::Product(routers) if routers.len() == 1 => routers[0].each(parents, vars, emit),
            Router::Product(routers) => {
                let mut lists = Vec::with_capacity(routers.len());
                for router in routers {
                    let mut list = Vec::new();
                    router.each(parents, vars, &mut |p| {
                        list.push(p);
                        Ok(())
                    })?;
                    lists.push(list);
                }
                combine(&lists, &mut Vec::new(), emit)
            }
            Router::Group { of, size, once } => {
                let (mut group, mut seen) = (Vec::new(), HashSet::new());
                of.each(parents, vars, &mut |partition| {
                    if *once && !seen.insert(only_value(&partition)?) {
                        return Ok(());
                    }
                    group.push(partition);
                    if group.len() < *size { Ok(()) } else { emit(grouped(&std::mem::take(&mut group))) }
                })?;
                if group.is_empty() { Ok(()) } else { emit(grouped(&group)) }
            }
            Router::Union(routers, field) => {
                let mut seen = HashSet::new();
                for router in routers {
                    router.each(parents, vars, &mut |mut partition| {
                        if !seen.insert(only_value(&partition)?) {
                            return Ok(());
                        }
                        let value = partition.key.shift_remove(field).unwrap_or_default();
                        partition.extra.extend(std::mem::take(&mut partition.key));
                        partition.key.insert(field.clone(), value);
                        emit(partition)
                    })?;
                }
                Ok(())
            }
        }
    }
}

/// The identity of a partition's value: by Python's equality `1`, `1.0` and `True` are one value.
fn only_value(partition: &Partition) -> Result<String> {
    let value = partition.key.iter().find(|(name, _)| *name != "parent_slice").map_or(&Json::Null, |(_, value)| value);
    match value {
        Json::Array(_) | Json::Object(_) => {
            Err(Fault::data("a partition's value is a list or an object; it must be a plain value")
                .hint("check `parent_key` or `values` of the partition router"))
        }
        Json::Bool(one) => Ok(f64::from(u8::from(*one)).to_string()),
        Json::Number(n) => Ok(n.as_f64().filter(|f| f.abs() < 9e15).map_or_else(|| n.to_string(), |f| f.to_string())),
        other => Ok(other.to_string()),
    }
}

/// A group as one partition: each name holds the list of its values.
fn grouped(group: &[Partition]) -> Partition {
    let column = |of: &dyn Fn(&Partition) -> &Map<String, Json>, name: &String| {
        Json::Array(group.iter().map(|p| of(p).get(name).cloned().unwrap_or_default()).collect())
    };
    let mut all = Partition::default();
    for name in group.iter().take(1).flat_map(|p| p.key.keys()) {
        all.key.insert(name.clone(), column(&|p| &p.key, name));
    }
    for name in group.iter().flat_map(|p| p.extra.keys()) {
        all.extra.insert(name.clone(), column(&|p| &p.extra, name));
    }
    all
}

/// Every combination with one partition from each list.
fn combine<'p>(
    lists: &'p [Vec<Partition>],
    chosen: &mut Vec<&'p Partition>,
    emit: &mut dyn FnMut(Partition) -> Result<()>,
) -> Result<()> {
    let Some((list, rest)) = lists.split_first() else { return emit(together(chosen)) };
    for partition in list {
        chosen.push(partition);
        combine(rest, chosen, emit)?;
        chosen.pop();
    }
    Ok(())
}

/// Merges several partitions. Options of later routers come first; if two use the same name, the earlier router wins:
/// the reference reads a chain of maps.
fn together(chosen: &[&Partition]) -> Partition {
    let mut all = Partition::default();
    for one in chosen.iter().rev() {
        for (into, from) in [
            (&mut all.key, &one.key),
            (&mut all.extra, &one.extra),
            (&mut all.options.params, &one.options.params),
            (&mut all.options.headers, &one.options.headers),
            (&mut all.options.data, &one.options.data),
            (&mut all.options.json, &one.options.json),
        ] {
            into.extend(from.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
    }
    all
}

impl Values {
    fn all(&self, vars: &Vars<'_>) -> Result<Vec<Json>> {
        match self {
            Values::Given(items) => Ok(items.clone()),
            Values::Template(template) => Ok(match template.value(vars, Types::Any)? {
                Json::Array(items) => items,
                // Python iterates a text by characters; so does the reference.
                Json::String(text) => text.chars().map(|c| json!(c.to_string())).collect(),
                other => {
                    return Err(template
                        .at()
                        .fault(format!("`values` must evaluate to a list, not {}", text_of(&other))));
                }
            }),
        }
    }
}

/// The value at the parent key of a record.
enum ParentKey<'j> {
    Value(&'j Json),
    /// The key, or an object on the path to it, is null.
    Null,
    Absent,
}

impl ParentPlan {
    fn key<'j>(&self, record: &'j Json) -> ParentKey<'j> {
        let mut at = record;
        for step in &self.path {
            match dpath::get(at, std::slice::from_ref(step)) {
                Some(below) => at = below,
                None if at.is_null() => return ParentKey::Null,
                None => return ParentKey::Absent,
            }
        }
        if at.is_null() { ParentKey::Null } else { ParentKey::Value(at) }
    }

    /// The parent key as the manifest has it.
    fn shown(&self) -> String {
        format!("`parent_key: {}`", self.path.join("/"))
    }

    fn leads_nowhere(&self, came: u64) -> Fault {
        let records =
            if came == 1 { "the one parent record".to_owned() } else { format!("any of {came} parent records") };
        Fault::data(format!("{} is missing in {records}, so there is no partition to read", self.shown()))
            .at(&self.at.location)
            .hint("use a field that the parent's records have; exclude parents without it with a `record_filter`")
    }

    fn leads_to_a_list(&self) -> Fault {
        Fault::data(format!("{} is a list, which cannot be a partition's value", self.shown()))
            .at(&self.at.location)
            .hint(
                "use a field with one value; for the list's items, use a parent stream that has a record for each item",
            )
    }

    fn partition(&self, value: &Json, record: &Json, slice: &Map<String, Json>, embed: bool) -> Partition {
        let value = value.clone();
        let mut options = RequestOptions::default();
        if let Some(inject) = &self.inject
            && is_truthy(&value)
        {
            inject.put(value.clone(), &mut options);
        }
        let extra = self.extra.iter().map(|path| {
            let value = dpath::get(record, path).cloned().unwrap_or(Json::Null);
            (path.join("."), value)
        });
        let key =
            Map::from_iter([(self.field.clone(), value), ("parent_slice".to_owned(), Json::Object(slice.clone()))]);
        let first_page = self.embedded.as_ref().filter(|_| embed).map(|path| {
            // A missing page is an empty page.
            dpath::get(record, path).filter(|page| !page.is_null()).cloned().unwrap_or_else(|| json!([]))
        });
        Partition { key, extra: extra.collect(), options, first_page, ..Partition::default() }
    }
}

fn is_truthy(value: &Json) -> bool {
    Value::from_json(value).truthy()
}

/// Template names for the extra fields of parent records.
pub fn extra_names(defs: &[model::PartitionRouter]) -> Vec<String> {
    let parents = defs.iter().flat_map(model::PartitionRouter::parents);
    parents.flat_map(|p| p.extra_fields.iter().flatten().map(|path| path.join("."))).collect()
}

/// The `stream_slice` variable: the partition, and the window bounds under their names.
pub fn variable(partition: &Partition, window: &[(String, Json)]) -> Json {
    let mut map = partition.key.clone();
    map.extend(partition.context.clone());
    for (name, value) in window {
        map.insert(name.clone(), value.clone());
    }
    if !partition.extra.is_empty() {
        map.insert("extra_fields".into(), Json::Object(partition.extra.clone()));
    }
    Json::Object(map)
}
