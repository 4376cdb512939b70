//! Cuts `{"items":[…]}` into its items while it arrives.
//!
//! Invariant: what is held is at most one item and the last piece; an item is cut, not judged (a
//! parser does that), so this only has to know strings and brackets.

/// The largest item.
const MAX_ITEM: usize = 1 << 20;

/// Cuts a list into items.
#[derive(Default)]
pub(super) struct Splitter {
    item: Vec<u8>,
    depth: u32,
    in_string: bool,
    escaped: bool,
    ended: bool,
}

impl Splitter {
    /// Takes the next piece; gives each finished item to `found`.
    pub(super) fn push(
        &mut self,
        piece: &[u8],
        mut found: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut from = 0;
        let mut at = 0;
        while at < piece.len() {
            if self.in_string {
                at = self.skip_string(piece, at);
                continue;
            }
            match piece[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    // Depth 1 is the list's own brace, 2 its bracket, 3 an item.
                    if self.depth == 3 {
                        from = at;
                    }
                }
                b'}' | b']' => {
                    if self.depth == 0 {
                        return Err("a bracket closes nothing".into());
                    }
                    self.depth -= 1;
                    if self.depth == 2 {
                        if self.item.is_empty() {
                            found(&piece[from..=at])?;
                        } else {
                            self.item.extend_from_slice(&piece[from..=at]);
                            found(&self.item)?;
                            self.item.clear();
                        }
                    }
                    self.ended |= self.depth == 0;
                }
                _ => {}
            }
            at += 1;
        }
        if self.depth >= 3 {
            self.item.extend_from_slice(&piece[from..]);
            if self.item.len() > MAX_ITEM {
                return Err("an item is too large".into());
            }
        }
        Ok(())
    }

    /// Where to go on after what is left of a string. Most of a list is strings, so they are
    /// searched and not walked through.
    fn skip_string(&mut self, piece: &[u8], at: usize) -> usize {
        if self.escaped {
            self.escaped = false;
            return at + 1;
        }
        match memchr::memchr2(b'"', b'\\', &piece[at..]) {
            Some(found) => {
                self.escaped = piece[at + found] == b'\\';
                self.in_string = self.escaped;
                at + found + 1
            }
            None => piece.len(),
        }
    }

    /// Whether the list was closed; one that was not is a broken connection.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &[u8], piece: usize) -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        let mut splitter = Splitter::default();
        for piece in text.chunks(piece) {
            splitter
                .push(piece, |item| {
                    out.push(serde_json::from_slice(item).map_err(|e| e.to_string())?);
                    Ok(())
                })
                .unwrap();
        }
        assert!(splitter.ended());
        out
    }

    #[test]
    fn every_way_of_cutting_gives_the_same() {
        let text = br#" {"items" : [ {"a":"]}\"\\"}, {"b":[{"c":[1]}]} ] } "#;
        let whole: serde_json::Value = serde_json::from_slice(text).unwrap();
        for piece in 1..=text.len() {
            assert_eq!(&cut(text, piece), whole["items"].as_array().unwrap(), "{piece}");
        }
        assert!(cut(br#"{"items":[]}"#, 3).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_in_any_pieces(names in prop::collection::vec(any::<String>(), 0..8), piece in 1usize..40) {
            let items: Vec<_> = names.iter().map(|n| serde_json::json!({ "n": n })).collect();
            let text = serde_json::to_vec(&serde_json::json!({ "items": items })).unwrap();
            prop_assert_eq!(cut(&text, piece), items);
        }

        #[test]
        fn never_panics(bytes in any::<Vec<u8>>()) {
            let _ = Splitter::default().push(&bytes, |_| Ok(()));
        }
    }
}
