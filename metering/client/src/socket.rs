//! A request by HTTP/1.1 over a Unix socket, on a connection of its own.

use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::{ClientError, Reply, head};

pub async fn exchange(socket: &Path, mut request: Request<Full<Bytes>>) -> Result<Reply, ClientError> {
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::Connect { socket: socket.to_owned(), source })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Reply)?;
    // The connection is driven only as long as the reply is awaited, and goes with this future.
    let reply = async {
        let reply = sender.send_request(request).await?;
        let (status, retry_after) = head(&reply);
        let body = reply.into_body().collect().await?.to_bytes().to_vec();
        Ok(Reply { status, retry_after, body })
    };
    tokio::pin!(reply, connection);
    tokio::select! {
        reply = &mut reply => reply,
        // The connection may end before its last bytes were taken up.
        ended = &mut connection => match ended {
            Ok(()) => reply.await,
            Err(error) => Err(error),
        },
    }
    .map_err(ClientError::Reply)
}
