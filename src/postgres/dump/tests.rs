use super::*;

fn has_marker(chunks: &[&str]) -> bool {
    let mut tail = Tail::of("database dump");
    chunks.iter().for_each(|chunk| tail.feed(chunk.as_bytes()));
    tail.has_marker()
}

#[test]
fn the_marker_counts_only_at_the_very_end() {
    let marker = "--\n-- PostgreSQL database dump complete\n--\n\n";
    assert!(has_marker(&[&"x".repeat(2000), "\n", marker]));
    assert!(has_marker(&["x\n", &marker[..20], &marker[20..], "\\unrestrict abc\n\n"]));
    assert!(!has_marker(&["x\n", marker, "1\tmore rows\n"]));
    assert!(!has_marker(&["x\n-- PostgreSQL database dump comp"]));
    assert!(!has_marker(&["x\n--\n-- PostgreSQL database cluster dump complete\n--\n\n"]));
    assert!(!has_marker(&[]));
}
