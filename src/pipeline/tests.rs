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
    let outcome = stream(source, CopyFacts::None, &encoding, &Workers::new(2, 1), senders, &Counters::default()).await;
    let mut received = Vec::new();
    for task in collect {
        received.push(task.await.unwrap());
    }
    (outcome, received)
}

fn gzipped(gzip: Gzip) -> Encoding {
    Encoding { gzip: Some(gzip), recipients: None }
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
    let (outcome, received) = run(Cursor::new(plain.clone()), gzipped(Gzip::new(6)), 2).await;
    let streamed = outcome.unwrap();
    assert_eq!(received[0], received[1]);
    assert_eq!(streamed.raw_bytes, plain.len() as u64);
    assert_eq!(streamed.stored_bytes, received[0].len() as u64);
    assert_eq!(received.iter().map(Vec::len).collect::<Vec<_>>(), [streamed.stored_bytes as usize; 2]);
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
    let streamed = stream(
        source,
        CopyFacts::None,
        &Encoding::default(),
        &Workers::new(2, 1),
        vec![lost, kept],
        &Counters::default(),
    )
    .await
    .unwrap();
    let taken = collect.await.unwrap();
    assert_eq!(taken.len() as u64, streamed.stored_bytes);
    assert_eq!(taken, plain);
}

#[tokio::test]
async fn without_any_target_left_the_stream_fails() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let source = Cursor::new(text(BLOCK * 4));
    let outcome =
        stream(source, CopyFacts::None, &Encoding::default(), &Workers::new(2, 1), vec![sender], &Counters::default())
            .await;
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
        let (outcome, _) = run(Breaks(length), gzipped(Gzip::new(1)), 1).await;
        assert!(matches!(outcome, Err(StreamError::Source(_))), "after {length} bytes");
    }
}

#[tokio::test]
async fn an_empty_source_gives_an_empty_target() {
    let (outcome, received) = run(Cursor::new(Vec::new()), gzipped(Gzip::new(6)), 1).await;
    assert_eq!((outcome.unwrap().raw_bytes, received[0].len()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_member_of_any_level_gives_back_its_block(block in proptest::collection::vec(any::<u8>(), 1..4096), level in 0_u8..=9) {
        let member = Gzip::new(level).members(&block, &[]).0;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert_eq!(runtime.block_on(gunzip(&member)), block);
    }
}

/// A small dump with three tables, one of them in two blocks.
fn dump() -> String {
    let rows: String = (0..60_000).map(|n| format!("{n}\trow number {n}\n")).collect();
    format!(
        "CREATE TABLE public.a (id int, t text);\nCOPY public.a (id, t) FROM stdin;\n{rows}\\.\n\n\
         COPY public.\"B\" (id) FROM stdin;\n1\n2\n\\.\n\nCOPY public.empty (id) FROM stdin;\n\\.\n\n\
         COPY public.\"B\" (id) FROM stdin;\n3\n\\.\nSELECT pg_catalog.setval('public.s', 5, true);\n\
         CREATE FUNCTION f() AS $$\nCOPY public.a (id) FROM stdin;\n1\n\\.\n$$;\n"
    )
}

async fn run_with_facts(text: &str) -> (Streamed, Vec<u8>) {
    let (sender, mut receiver) = mpsc::channel(1000);
    let encoding = gzipped(Gzip::new(6));
    let (source, workers, counters) = (Cursor::new(text.as_bytes().to_vec()), Workers::new(2, 1), Counters::default());
    let streamed = stream(source, CopyFacts::of_sql(), &encoding, &workers, vec![sender], &counters);
    let streamed = streamed.await.unwrap();
    let mut stored = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        stored.extend_from_slice(&chunk);
    }
    (streamed, stored)
}

#[tokio::test]
async fn rows_are_counted_and_summed_up_as_they_pass() {
    let (streamed, _) = run_with_facts(&dump()).await;
    let found: Vec<(&str, u64)> = streamed.found.rows.iter().map(|rows| (&*rows.table, rows.rows)).collect();
    assert_eq!(found, [("public.a", 60_000), ("public.\"B\"", 2), ("public.empty", 0), ("public.\"B\"", 1)]);
    assert_eq!(streamed.found.rows[0].columns, ["id", "t"].iter().collect());
    assert_eq!(streamed.found.sequences[0].1.value, 5);
    let mut sum = crate::record::fingerprint::RowSum::default();
    ["2", "1"].iter().for_each(|row| sum.take(row.as_bytes(), true));
    assert_eq!(streamed.found.rows[1].fingerprint, sum.finish().1);
}

#[tokio::test]
async fn the_rows_of_a_table_can_be_read_alone_from_their_members() {
    let text = dump();
    let (streamed, stored) = run_with_facts(&text).await;
    assert_eq!(gunzip(&stored).await, text.as_bytes());
    assert!(streamed.found.rows.iter().all(|rows| rows.member.length > 0));
    for rows in &streamed.found.rows {
        let member = &rows.member;
        let range = usize::try_from(member.offset).unwrap()..usize::try_from(member.offset + member.length).unwrap();
        assert_eq!(hex::encode(&Sha256::digest(&stored[range.clone()])), member.sha256.to_string());
        let alone = String::from_utf8(gunzip(&stored[range]).await).unwrap();
        let begin = usize::try_from(rows.raw_offset).unwrap();
        assert!(text[begin..].starts_with(&alone));
        assert_eq!(alone.lines().count() as u64, rows.rows + 1, "the rows and the line that ends them");
        assert!(alone.ends_with("\\.\n"));
    }
}
