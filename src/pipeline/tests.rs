use super::*;
use async_compression::tokio::bufread::GzipDecoder;
use proptest::prelude::*;
use std::io::Cursor;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// Runs the stream into `count` targets and returns what each received.
async fn run(
    source: impl AsyncRead + Unpin,
    encoding: Encoding,
    count: usize,
) -> (Result<Streamed, StreamError>, Vec<Vec<u8>>) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(TARGET_QUEUE)).unzip();
    let collect = receivers.into_iter().map(|mut receiver: mpsc::Receiver<Bytes>| {
        tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(chunk) = receiver.recv().await {
                all.extend_from_slice(&chunk);
            }
            all
        })
    });
    let collect: Vec<_> = collect.collect();
    let outcome = stream(source, &encoding, &Workers::new(2, 1), senders, &Counters::default()).await;
    let mut received = Vec::new();
    for task in collect {
        received.push(task.await.unwrap());
    }
    (outcome, received)
}

async fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = GzipDecoder::new(bytes);
    decoder.multiple_members(true);
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).await.unwrap();
    plain
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|index| b"0123456789abcdef\n"[(index * index / 7) % 17]).collect()
}

#[tokio::test]
async fn every_target_receives_the_same_bytes_and_the_digest_is_theirs() {
    let plain = text(BLOCK * 3 + 12_345);
    let (outcome, received) = run(Cursor::new(plain.clone()), Encoding::Gzip(Gzip::new(6)), 2).await;
    let streamed = outcome.unwrap();
    assert_eq!(received[0], received[1]);
    assert_eq!(streamed.raw_bytes, plain.len() as u64);
    assert_eq!(streamed.stored_bytes, received[0].len() as u64);
    assert_eq!(streamed.whole, [true, true]);
    let sha256: String = Sha256::digest(&received[0]).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(streamed.sha256, sha256);
    assert_eq!(gunzip(&received[0]).await, plain);
}

#[tokio::test]
async fn a_target_that_goes_away_is_left_behind_and_the_other_gets_everything() {
    let (lost, gone) = mpsc::channel::<Bytes>(1);
    drop(gone);
    let (kept, mut receiver) = mpsc::channel::<Bytes>(TARGET_QUEUE);
    let plain = text(BLOCK * 4);
    let collect = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            all.extend_from_slice(&chunk);
        }
        all
    });
    let source = Cursor::new(plain.clone());
    let streamed =
        stream(source, &Encoding::Identity, &Workers::new(2, 1), vec![lost, kept], &Counters::default()).await.unwrap();
    assert_eq!(streamed.whole, [false, true]);
    assert_eq!(collect.await.unwrap(), plain);
}

#[tokio::test]
async fn without_any_target_left_the_stream_fails() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let source = Cursor::new(text(BLOCK * 4));
    let outcome = stream(source, &Encoding::Identity, &Workers::new(2, 1), vec![sender], &Counters::default()).await;
    assert!(matches!(outcome, Err(StreamError::NoTarget)));
}

/// A reader that fails after so many bytes.
struct Breaks(usize);

impl AsyncRead for Breaks {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0 == 0 {
            return Poll::Ready(Err(io::Error::other("broke off")));
        }
        let count = self.0.min(buf.remaining()).min(64 << 10);
        buf.put_slice(&vec![7; count]);
        self.0 -= count;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_is_an_error_wherever_it_happens() {
    for length in [0, 1, BLOCK, BLOCK * 5 + 3] {
        let (outcome, _) = run(Breaks(length), Encoding::Gzip(Gzip::new(1)), 1).await;
        assert!(matches!(outcome, Err(StreamError::Source(_))), "after {length} bytes");
    }
}

#[tokio::test]
async fn an_empty_source_gives_an_empty_target() {
    let (outcome, received) = run(Cursor::new(Vec::new()), Encoding::Gzip(Gzip::new(6)), 1).await;
    assert_eq!((outcome.unwrap().raw_bytes, received[0].len()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_member_of_any_level_gives_back_its_block(block in proptest::collection::vec(any::<u8>(), 1..4096), level in 0_u8..=9) {
        let member = Gzip::new(level).member(&block);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert_eq!(runtime.block_on(gunzip(&member)), block);
    }
}
