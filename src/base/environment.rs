//! The environment variables that dripfeed reads, in one list: the reference pages come from it.
//!
//! Output: [`VARIABLES`]. Each variable is read where it is used; `tests/docs/reference` checks that each one is
//! listed here.

/// An environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The name of the variable.
    pub name: &'static str,
    /// The option that it belongs to, if there is one.
    pub stands_for: Option<&'static str>,
    /// What it does.
    pub what: &'static str,
}

const fn variable(name: &'static str, stands_for: &'static str, what: &'static str) -> Variable {
    Variable { name, stands_for: if stands_for.is_empty() { None } else { Some(stands_for) }, what }
}

/// All of them, dripfeed's own first.
pub const VARIABLES: &[Variable] = &[
    variable("DRIPFEED_CONFIG", "--config", "The tenant's config. Configs of the command line override it key by key."),
    variable("DRIPFEED_SOURCE", "--source", "A built-in source, or the path of a manifest."),
    variable("DRIPFEED_STATE_DIR", "--state-dir", "The state directory, if neither an option nor the config sets one."),
    variable("DRIPFEED_STREAMS", "--streams", "The streams to read, separated by commas."),
    variable("DRIPFEED_TIER", "--tier", "The tier of the config to read."),
    variable("DRIPFEED_BACKFILL", "--backfill", "The part of the past to read, as FROM..TO."),
    variable("DRIPFEED_PROTOCOL", "--protocol", "The format of the messages: `singer` or `airbyte`."),
    variable("DRIPFEED_UNFINISHED_OK", "--unfinished-ok", "`true` makes runs exit with 0 instead of 75 and 76."),
    variable(
        "DRIPFEED_ALLOW_REFERENCES",
        "",
        "`1` allows `file:` and `exec:` in configs in Airbyte's protocol, where forms write them.",
    ),
    variable("DRIPFEED_NOW", "", "The time that templates and cursors see, RFC 3339, for repeatable runs."),
    variable(
        "DRIPFEED_TRACK",
        "",
        "`off` parses each record in full: a way to see whether an error is one of the track.",
    ),
    variable("TAP_<SOURCE>_<SETTING>", "", "A setting of the config, with `--config ENV`."),
    variable("SINGER_SDK_LOG_CONFIG", "--log-format", "Meltano's log config. Log lines are JSON if it requests JSON."),
    variable("AIRBYTE_STAGING_DIRECTORY", "", "The folder for files that a stream downloads."),
    variable(
        "XDG_STATE_HOME",
        "",
        "`sync`, `status` and `drift` use `$XDG_STATE_HOME/dripfeed` if no state directory is set.",
    ),
    variable("HOME", "", "`~/.local/state/dripfeed` is the default if `XDG_STATE_HOME` is not set."),
    variable("USER", "--by", "The name under which `drift` records a decision."),
    variable("LOGNAME", "--by", "The name under which `drift` records a decision, if `USER` is not set."),
    variable("CI", "--force", "`drift accept` and `drift learn` need `--force` if it is set."),
    variable("PATH", "--program", "`schedule` names the program by the folder of it in which it was found."),
    variable("NO_COLOR", "", "Turns colours off if it is set and not empty."),
    variable("CLICOLOR_FORCE", "", "Turns colours on without a terminal too, if it is not empty and not `0`."),
    variable("CLICOLOR", "", "`0` turns colours off."),
    variable("TERM", "", "`dumb` turns colours off."),
    variable(
        "HTTPS_PROXY",
        "",
        "The proxy of `https://` URLs, as `http://USER:PASSWORD@HOST:PORT`. Lower case works too, here and below, \
         and wins.",
    ),
    variable("http_proxy", "", "The proxy of `http://` URLs. As for curl, `HTTP_PROXY` is ignored."),
    variable("ALL_PROXY", "", "The proxy of URLs whose scheme has none of its own."),
    variable(
        "NO_PROXY",
        "",
        "What is reached without a proxy, separated by commas: a host with all below it (`example.com`), an address, a \
         network (`10.0.0.0/8`), `HOST:PORT`; or `*` for everything.",
    ),
    variable(
        "SSL_CERT_FILE",
        "",
        "A file of CA certificates that replaces the machine's store. `dripfeed.tls.ca_file` adds to it.",
    ),
];
