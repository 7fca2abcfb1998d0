//! What befalls a file between two daemons.

/// It ends in the middle.
pub fn truncated(mut whole: Vec<u8>) -> Vec<u8> {
    whole.truncate(whole.len() / 2);
    whole
}

/// Nothing is left of it.
pub fn empty(_: Vec<u8>) -> Vec<u8> {
    Vec::new()
}

/// Every byte there is, in place of it.
pub fn not_even_text(_: Vec<u8>) -> Vec<u8> {
    (0..=255).collect()
}

/// Other text in one place.
pub fn replaced(old: &str, new: &str) -> impl FnOnce(Vec<u8>) -> Vec<u8> {
    move |whole| {
        let text = String::from_utf8(whole).expect("a record is text");
        let changed = text.replacen(old, new, 1);
        assert_ne!(text, changed);
        changed.into_bytes()
    }
}
