//! Bytes in both directions after the handshake, and the end of them.

use openssl::ssl::SslStream;
use tokio::io::AsyncWriteExt;

use super::authority::root;
use super::*;

async fn connected<T: Send + 'static>(
    behave: impl FnOnce(SslStream<TcpStream>) -> T + Send + 'static,
) -> (TlsStream, Server<T>) {
    let context = context(&root("root").server(), &[]);
    let server = Server::new(context, |stream| behave(stream.unwrap()));
    let client = connect(server.port, &config("sslmode=require")).await;
    (client.outcome.unwrap(), server)
}

/// Everything up to the error that ends it.
async fn read_to_failure(stream: &mut TlsStream) -> (Vec<u8>, std::io::Error) {
    let mut bytes = Vec::new();
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) => panic!("an end without an error"),
            Ok(_) => {}
            Err(error) => return (bytes, error),
        }
    }
}

#[tokio::test]
async fn cn_189_ends_of_a_connection() {
    let (mut stream, server) = connected(|mut stream| {
        stream.write_all(b"data").unwrap();
        stream.get_ref().shutdown(Shutdown::Both).unwrap();
    })
    .await;
    server.finish();
    let (bytes, error) = read_to_failure(&mut stream).await;
    assert_eq!(
        (bytes.as_slice(), error.to_string().as_str()),
        (&b"data"[..], "SSL error: unexpected eof while reading")
    );
    assert!(matches!(error.downcast::<TlsError>(), Ok(TlsError::UnexpectedEof)));

    let (mut stream, server) = connected(|mut stream| {
        stream.write_all(b"data").unwrap();
        stream.shutdown().unwrap();
    })
    .await;
    server.finish();
    let (bytes, error) = read_to_failure(&mut stream).await;
    assert_eq!(bytes, b"data");
    assert!(matches!(error.downcast::<TlsError>(), Ok(TlsError::Closed)));
    let (bytes, error) = read_to_failure(&mut stream).await;
    assert_eq!(
        (bytes.as_slice(), error.to_string().as_str()),
        (&b""[..], "SSL connection has been closed unexpectedly")
    );
}

#[tokio::test]
async fn cn_189_what_comes_before_junk_is_delivered() {
    let (mut stream, server) = connected(|mut stream| {
        stream.write_all(b"data").unwrap();
        let junk = [&b"\x17\x03\x03\x00\x20"[..], &[7; 32]].concat();
        stream.get_mut().write_all(&junk).unwrap();
        stream.get_mut().shutdown(Shutdown::Write).unwrap();
        let _ = stream.get_mut().read_to_end(&mut Vec::new());
    })
    .await;
    let (bytes, error) = read_to_failure(&mut stream).await;
    assert_eq!(bytes, b"data");
    assert_eq!(error.to_string(), "SSL error: decryption failed or bad record mac");
    assert!(stream.read_u8().await.is_err());
    drop(stream);
    server.finish();
}

#[tokio::test]
async fn cn_189_a_read_tells_what_ended_the_connection_and_no_write_before_it() {
    let (mut stream, server) = connected(|mut stream| {
        stream.write_all(b"data").unwrap();
        stream.get_mut().write_all(&[&b"\x17\x03\x03\x00\x20"[..], &[7; 32]].concat()).unwrap();
    })
    .await;
    server.finish();
    let mut bytes = [0; 100];
    assert_eq!(stream.read(&mut bytes).await.unwrap(), 4);
    for _ in 0..3 {
        stream.write_all(b"feedback").await.unwrap();
        stream.flush().await.unwrap();
    }
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.to_string(), "SSL error: decryption failed or bad record mac");
    assert!(stream.write_all(b"feedback").await.is_err());
}

#[tokio::test]
async fn cn_293_a_reset_reads_as_without_tls() {
    let (mut stream, server) = connected(|stream| {
        socket2::SockRef::from(stream.get_ref()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    })
    .await;
    server.finish();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(error.downcast::<TlsError>().is_err());
}

#[tokio::test]
async fn a_reset_during_the_handshake() {
    let server = Server::with_socket(|mut socket| {
        let _hello = socket.read(&mut [0; 16]).unwrap();
        socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    });
    let client = connect(server.port, &config("sslmode=require")).await;
    let expected = "server closed the connection unexpectedly\n\
                    \tThis probably means the server terminated abnormally\n\
                    \tbefore or while processing the request.\n\
                    SSL SYSCALL error: Connection reset by peer";
    assert_eq!(client.outcome.unwrap_err().to_string(), expected);
    server.finish();
}

#[tokio::test]
async fn a_read_takes_all_records_that_are_there() {
    const RECORDS: usize = 100;
    let (mut stream, server) = connected(|mut stream| {
        for number in 0..RECORDS {
            stream.write_all(&[number as u8; 300]).unwrap();
        }
        stream.shutdown().unwrap();
    })
    .await;
    server.finish();
    let mut bytes = vec![0; 2 * RECORDS * 300];
    let length = stream.read(&mut bytes).await.unwrap();
    assert_eq!(length, RECORDS * 300);
    assert!(bytes[..length].chunks(300).zip(0..).all(|(chunk, number)| chunk == [number; 300]));
    assert_eq!(
        stream.read(&mut [0; 1]).await.unwrap_err().to_string(),
        "SSL connection has been closed unexpectedly"
    );
}

#[tokio::test]
async fn a_small_buffer_loses_nothing() {
    let data: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = data.clone();
    let (mut stream, server) = connected(move |mut stream| {
        stream.write_all(&sent).unwrap();
        stream.shutdown().unwrap();
    })
    .await;
    let mut received = Vec::new();
    let mut buffer = [0; 777];
    while let Ok(length) = stream.read(&mut buffer).await {
        received.extend_from_slice(&buffer[..length]);
    }
    assert!(received == data);
    server.finish();
}

#[tokio::test]
async fn much_is_written_and_read_at_once() {
    const LENGTH: usize = 8 << 20;
    let (stream, server) = connected(|mut stream| {
        let mut buffer = vec![0; 64 << 10];
        let mut total = 0;
        while total < LENGTH {
            let length = stream.read(&mut buffer).unwrap();
            stream.write_all(&buffer[..length]).unwrap();
            total += length;
        }
        stream.shutdown().unwrap();
    })
    .await;
    let data: Vec<u8> = (0..LENGTH).map(|at| (at / 7) as u8).collect();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut received = Vec::with_capacity(LENGTH);
    let write = async {
        writer.write_all(&data).await.unwrap();
        writer.flush().await.unwrap();
    };
    let read = async { while reader.read_buf(&mut received).await.is_ok() {} };
    tokio::join!(write, read);
    assert!(received == data);
    server.finish();
}

#[tokio::test]
async fn leaving_says_so_inside_tls() {
    let (mut stream, server) = connected(|mut stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| error.to_string())
    })
    .await;
    stream.write_all(b"X").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(server.finish(), Ok(b"X".to_vec()));
}
