//! The daemons' socket: `POST /v1/blocks`.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use tenantry_model::block::Receipt;
use tenantry_store::{SentBlock, Taken};

use crate::caller::{Caller, MaySend};
use crate::reply::{App, CorrelationId, Failure, correlate, method_not_allowed, not_found, quoted_path};

/// The socket's paths.
pub fn routes(app: Arc<App>) -> Router {
    blocks()
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // Whoever may send no block is refused at each path of this socket.
        .layer(middleware::from_fn_with_state(Arc::clone(&app), only_senders))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), correlate))
        .with_state(app)
}

/// What senders ask, among what others do.
pub fn paths(app: &Arc<App>) -> Router<Arc<App>> {
    blocks().route_layer(middleware::from_fn_with_state(Arc::clone(app), only_senders))
}

fn blocks() -> Router<Arc<App>> {
    Router::new().route("/v1/blocks", post(take))
}

/// What says who may send.
const NEXT: &str = "the administrator names daemons' uids in ingest_uids; \
     over the network it takes the node's own certificate (tenantry-server pki issue node NAME)";

/// Stands before everything: nobody else's bytes are read.
async fn only_senders(
    State(app): State<Arc<App>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Extension(correlation_id): Extension<CorrelationId>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(may_send) = caller.may_send(&app.config) {
        request.extensions_mut().insert(may_send);
        return next.run(request).await;
    }
    let subject = format!("{} {}", request.method(), quoted_path(&request));
    let detail = format!("{caller} may not send blocks");
    app.refuse(&caller, correlation_id, subject, detail, NEXT).await.into_response()
}

#[derive(Serialize)]
struct Reply {
    receipt: Receipt,
    /// After a conflict: the last block that the ledger has of the boot. The next one is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sequence: Option<u64>,
}

async fn take(
    State(app): State<Arc<App>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Extension(may_send): Extension<MaySend>,
    Extension(correlation_id): Extension<CorrelationId>,
    request: Request,
) -> Result<(StatusCode, Json<Reply>), Failure> {
    // The bytes' room is theirs until the ledger has them.
    let body = app.room.read(&caller, request, app.config.max_block_bytes.get()).await?;
    let sent = SentBlock::parse(body.bytes.to_vec()).map_err(|error| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            format!("this is no block: {error}"),
            "set the block aside and report it; daemon and server may be of different releases",
        )
    })?;
    if !may_send.covers(&sent.key().node) {
        let subject = format!("block {}", sent.key());
        let detail = format!("{caller} may not send blocks of node {}", sent.key().node);
        return Err(app.refuse(&caller, correlation_id, subject, detail, NEXT).await);
    }
    let taken = app.ledger.ingest(&sent, app.now()?, &correlation_id.0).await?;
    tracing::debug!(block = %sent.key(), ?taken, "block");
    match taken {
        Taken::Receipt(receipt @ (Receipt::New | Receipt::Duplicate)) => {
            Ok((StatusCode::OK, Json(Reply { receipt, last_sequence: None })))
        }
        Taken::Receipt(receipt @ Receipt::Conflict) => {
            tracing::error!(block = %sent.key(), "another block stands under this name; the audit events have both hashes");
            let last_sequence = Some(app.ledger.last_sequence(&sent).await?);
            Ok((StatusCode::CONFLICT, Json(Reply { receipt, last_sequence })))
        }
        Taken::UnknownKey => Err(Failure::new(
            StatusCode::FORBIDDEN,
            format!("node {} is not trusted with the key {}", sent.key().node, sent.signer()),
            "if the node was installed anew: tenantry-server trust-key NODE KEY; else look into who sent it",
        )),
    }
}
