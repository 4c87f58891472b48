//! The binary: arguments in, exit code out. The first signal requests a stop; a second one ends the process at once.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;
use std::sync::Arc;

use dripfeed::base::fault::{Kind, report_panics};
use dripfeed::base::stop::Stop;
use dripfeed::cli::{self, Named};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    report_panics();
    let args: Vec<_> = std::env::args_os().collect();
    let stop = Arc::new(Stop::default());
    if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) {
        let stop = stop.clone();
        std::thread::spawn(move || {
            for signal in &mut signals {
                if matches!(stop.asked(), Some(Kind::Signal(_))) {
                    stop.leaves();
                    signal_hook::low_level::exit(128 + signal);
                }
                stop.ask(Kind::Signal(signal));
            }
        });
    }
    let named = args.first().and_then(|a| Named::of(&a.to_string_lossy()));
    let cli = match cli::parse(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout and exits 0; usage errors go to stderr and exit 2.
            let code = error.exit_code();
            return if error.print().is_ok() {
                ExitCode::from(u8::try_from(code).unwrap_or(2))
            } else {
                ExitCode::from(60)
            };
        }
    };
    let out = std::io::stdout();
    let pipe = is_pipe(&out);
    ExitCode::from(cli::run(&cli, named.as_ref(), &stop, Box::new(out), pipe))
}

/// Is stdout a pipe into another process?
fn is_pipe(out: &std::io::Stdout) -> bool {
    let file = out.as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|f| f.metadata()).is_ok_and(|m| m.file_type().is_fifo())
}
