//! Warnings that come with an answer.
//!
//! A commit whose wait for the standby is cancelled is answered with success and a WARNING, and nothing else
//! (docs/ledger.md). sqlx gives warnings to the log only; so what it would log is listened to while a block is
//! taken. [`hears`] proves on each connection that this works.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::OnceLock;

use sqlx::postgres::PgConnection;
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

const TARGET: &str = "sqlx::postgres::notice";

tokio::task_local! {
    static HEARD: RefCell<Vec<String>>;
}

/// What a future gives, and the warnings that came meanwhile.
pub(super) async fn listen<F: Future>(future: F) -> (F::Output, Vec<String>) {
    static EAR: OnceLock<Dispatch> = OnceLock::new();
    let ear = EAR.get_or_init(|| Dispatch::new(Ear(dispatcher::get_default(Dispatch::clone))));
    let whole = async {
        let output = future.await;
        (output, HEARD.with(RefCell::take))
    };
    HEARD.scope(RefCell::default(), whole.with_subscriber(ear.clone())).await
}

/// Whether a warning of this connection is heard.
pub(super) async fn hears(db: &mut PgConnection) -> sqlx::Result<bool> {
    const WARNING: &str = "does the client hear warnings?";
    let (asked, heard) = listen(sqlx::query("SELECT meter.warn($1)").bind(WARNING).execute(db)).await;
    asked.map(|_| heard.iter().any(|warning| warning == WARNING))
}

/// Hears warnings, and gives all that comes to the log that was there before.
struct Ear(Dispatch);

fn is_warning(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET && *metadata.level() <= Level::WARN
}

impl Subscriber for Ear {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_warning(metadata) { Interest::always() } else { Interest::sometimes() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_warning(metadata) || self.0.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::current().max(LevelFilter::WARN))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.0.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.0.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.0.record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        if is_warning(event.metadata()) {
            let mut message = Message::default();
            event.record(&mut message);
            // Outside of listen() nobody waits for it.
            let _ = HEARD.try_with(|heard| heard.borrow_mut().push(message.0));
        }
        if self.0.enabled(event.metadata()) {
            self.0.event(event);
        }
    }

    fn enter(&self, span: &Id) {
        self.0.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.0.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.0.try_close(id)
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
