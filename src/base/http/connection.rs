//! Connections that record how they ended.
//!
//! Input: ureq's own connector. Output: a connector whose connections record that they broke off; ureq treats this as
//! the end of a body without a length. Called by `engine::fetch`, which asks
//! [`broke_off`], and by [`super`].

use std::cell::Cell;
use std::io::ErrorKind;

use memchr::memmem;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

thread_local! {
    /// Did a connection break off on this thread? Each thread reads its own responses.
    static BROKE_OFF: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether a connection broke off on this thread, and starts to watch the next exchange.
pub fn broke_off() -> bool {
    INTERIM.set(0);
    BROKE_OFF.replace(false)
}

/// The most interim responses (1xx) before a response: 103 and the like may be repeated, but not without end.
const MAX_INTERIM: usize = 20;

thread_local! {
    /// Interim responses of the exchange on this thread.
    static INTERIM: Cell<usize> = const { Cell::new(0) };
}

/// How the status line of an interim response begins.
const INTERIM_LINE: &[u8] = b"HTTP/1.1 1";

/// Wraps the connections of the connector before it.
#[derive(Debug)]
pub(super) struct WatchedConnector;

/// A connection that records when it breaks off.
#[derive(Debug)]
pub(super) struct Watched<T>(T);

impl<In: Transport> Connector<In> for WatchedConnector {
    type Out = Watched<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Watched<In>>, ureq::Error> {
        Ok(chained.map(Watched))
    }
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let more = self.0.await_input(timeout).inspect_err(|error| {
            // TLS without `close_notify` ended too early.
            let ends = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset];
            if matches!(error, ureq::Error::Io(error) if ends.contains(&error.kind())) {
                BROKE_OFF.set(true);
            }
        })?;
        // ureq reads interim responses away, however many there are.
        let input = self.0.buffers().input();
        if input.starts_with(INTERIM_LINE) {
            INTERIM.set(INTERIM.get() + memmem::find_iter(input, INTERIM_LINE).count());
            if INTERIM.get() > MAX_INTERIM {
                return Err(std::io::Error::other("more than 20 interim responses (1xx) before the response").into());
            }
        }
        Ok(more)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
