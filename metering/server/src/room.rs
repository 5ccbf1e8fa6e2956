//! How much is in memory and in work at once, whichever door it came by.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::caller::Caller;
use crate::network::{Held, Place, Places};
use crate::reply::{App, Failure};

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a body may take: this long, and a second more for each so many bytes.
const BODY_TIME: Duration = Duration::from_secs(10);
const BYTES_A_SECOND: usize = 256 << 10;
/// Bodies of one name that come in at once: its daemon sends one after the other.
const MOST_BODIES: usize = 2;
/// What it takes in memory to unpack a block, times what it says it weighs: the rows, and all columns beside them. Held by
/// `a_payload_with_a_bit_flipped_is_read_without_a_panic_and_within_its_weight` in metering/block.
const SPREAD: usize = 16;

/// The bounds on memory and on work.
#[derive(Debug)]
pub struct Room {
    kib: Arc<Semaphore>,
    most_kib: u32,
    work: Arc<Semaphore>,
    bodies: Places,
}

/// A block's bytes, and their room.
#[derive(Debug)]
pub struct Taken {
    /// The bytes.
    pub bytes: Bytes,
    _kib: OwnedSemaphorePermit,
    _unpacked: OwnedSemaphorePermit,
    _work: OwnedSemaphorePermit,
}

impl Room {
    /// Room for so many bytes of bodies, and for so many requests in work.
    pub fn new(bytes: usize, requests: usize) -> Self {
        let most_kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(most_kib).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            kib: Arc::new(Semaphore::new(permits)),
            most_kib,
            work: Arc::new(Semaphore::new(requests)),
            bodies: Places::new(usize::MAX, MOST_BODIES),
        }
    }

    /// What is larger than all the room there is has it for itself.
    fn kib(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.most_kib)
    }

    /// How many bytes are held now.
    pub fn held_bytes(&self) -> u64 {
        let free = u64::try_from(self.kib.available_permits()).unwrap_or(u64::MAX);
        u64::from(self.most_kib).saturating_sub(free).saturating_mul(1024)
    }

    /// Reads a body of at most `most` bytes, when there is room for it and its time has come.
    pub async fn read(&self, caller: &Caller, request: Request, most: usize) -> Result<Taken, Failure> {
        let length =
            request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(length) = length else {
            return Err(Failure::new(
                StatusCode::LENGTH_REQUIRED,
                "the block comes without its length",
                "send Content-Length",
            ));
        };
        if length > most {
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the block has more than {most} bytes"),
                "send smaller blocks, or raise max_block_bytes",
            ));
        }
        let place = self.place(caller)?;
        let kib = turn(Arc::clone(&self.kib).acquire_many_owned(self.kib(length))).await?;
        let limit = BODY_TIME.saturating_add(Duration::from_secs(
            u64::try_from(length.checked_div(BYTES_A_SECOND).unwrap_or(0)).unwrap_or(0),
        ));
        let bytes = match timeout(limit, axum::body::to_bytes(request.into_body(), length)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => {
                let next = "send the block again";
                return Err(Failure::new(
                    StatusCode::BAD_REQUEST,
                    format!("the block broke off: {error}"),
                    next,
                ));
            }
            Err(_) => {
                let error = format!("the block did not come within {} s", limit.as_secs());
                return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, error, "send it again, and faster"));
            }
        };
        drop(place);
        let claimed = tenantry_block::claimed_weight(&bytes).unwrap_or(0);
        let claimed = usize::try_from(claimed).unwrap_or(usize::MAX).saturating_mul(SPREAD);
        // Those who hold what they wait for would wait for each other.
        let free = self.most_kib.saturating_sub(self.kib(length));
        let unpacked =
            Arc::clone(&self.kib).try_acquire_many_owned(self.kib(claimed).min(free)).map_err(|_| busy())?;
        let work = turn(Arc::clone(&self.work).acquire_owned()).await?;
        Ok(Taken { bytes, _kib: kib, _unpacked: unpacked, _work: work })
    }

    fn place(&self, caller: &Caller) -> Result<Option<Place>, Failure> {
        if matches!(caller, Caller::Local(_)) {
            return Ok(None);
        }
        self.bodies.take(&caller.to_string()).map(Some).map_err(|_| {
            let error = format!("{caller} sends more than {MOST_BODIES} blocks at once");
            let next = "send one after the other";
            Failure::new(StatusCode::TOO_MANY_REQUESTS, error, next).after(Duration::from_secs(1))
        })
    }
}

/// A permit, if its turn comes in time.
async fn turn<E>(
    permit: impl Future<Output = Result<OwnedSemaphorePermit, E>>,
) -> Result<OwnedSemaphorePermit, Failure> {
    match timeout(PATIENCE, permit).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(busy()),
    }
}

fn busy() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the server has as much to do as it may",
        "wait as long as Retry-After says; if it stays, raise max_bytes_in_flight or max_requests",
    )
    .after(Duration::from_secs(2))
}

/// Stands before readers' requests: so many are worked on at once, the last byte of their replies included.
pub async fn one_of_many(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let permit = turn(Arc::clone(&app.room.work).acquire_owned()).await;
    match permit {
        Ok(permit) => next.run(request).await.map(|body| Body::new(Held { body, _held: permit })),
        Err(failure) => failure.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Never;

    impl http_body::Body for Never {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    fn of(length: usize, body: Vec<u8>) -> Request {
        Request::builder().header(CONTENT_LENGTH, length).body(Body::from(body)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_wait_for_room_and_are_turned_away_when_there_is_none() {
        let room = Room::new(64 << 10, 4);
        let caller = Caller::Local(Some(0));
        let first = room.read(&caller, of(48 << 10, vec![0; 48 << 10]), 64 << 10).await.unwrap();
        assert_eq!(room.held_bytes(), 48 << 10);
        let second = room.read(&caller, of(48 << 10, vec![0; 48 << 10]), 64 << 10).await;
        assert_eq!(second.unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert_eq!(room.held_bytes(), 0);
        assert!(room.read(&caller, of(48 << 10, vec![0; 48 << 10]), 64 << 10).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let room = Room::new(64 << 10, 4);
        let request = Request::builder().header(CONTENT_LENGTH, 10).body(Body::new(Never)).unwrap();
        let read = room.read(&Caller::Local(Some(0)), request, 100).await;
        assert_eq!(read.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(room.held_bytes(), 0);
    }
}
