//! A page with marked parts that a program writes, and prose that it leaves alone.

use std::collections::BTreeSet;

/// A page that cannot be filled in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PageError {
    #[error("the page has no line `<!-- {0} -->`")]
    NoMarker(String),
    #[error("the page has `<!-- {0} -->`, and no `<!-- /{0} -->` before the next part")]
    NoEnd(String),
    #[error("the page has `<!-- /{0} -->`, and no `<!-- {0} -->` before it")]
    NoBeginning(String),
    #[error("the page has `<!-- {0} -->` twice")]
    Twice(String),
}

/// The page, piece by piece.
#[derive(Debug)]
pub(super) struct Page {
    pieces: Vec<Piece>,
    put: BTreeSet<String>,
}

#[derive(Debug)]
enum Piece {
    Prose(String),
    Part { name: String, text: String },
}

impl Page {
    /// Finds the parts: `<!-- name -->` and `<!-- /name -->`, each alone on its line.
    pub(super) fn parse(text: &str) -> Result<Self, PageError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut prose = String::new();
        let mut part: Option<(String, String)> = None;
        for line in text.lines() {
            match (marker(line), part.take()) {
                (Some(Marker::End(end)), Some((name, text))) if end == name => {
                    pieces.push(Piece::Part { name, text });
                }
                (Some(_), Some((name, _))) => return Err(PageError::NoEnd(name)),
                (Some(Marker::End(end)), None) => {
                    return Err(PageError::NoBeginning(end.to_owned()));
                }
                (Some(Marker::Beginning(name)), None) => {
                    if parts(&pieces).any(|known| known == name) {
                        return Err(PageError::Twice(name.to_owned()));
                    }
                    pieces.push(Piece::Prose(std::mem::take(&mut prose)));
                    part = Some((name.to_owned(), String::new()));
                }
                (None, Some((name, mut text))) => {
                    text.push_str(line);
                    text.push('\n');
                    part = Some((name, text));
                }
                (None, None) => {
                    prose.push_str(line);
                    prose.push('\n');
                }
            }
        }
        if let Some((name, _)) = part {
            return Err(PageError::NoEnd(name));
        }
        pieces.push(Piece::Prose(prose));
        Ok(Self { pieces, put: BTreeSet::new() })
    }

    /// Checks that all these parts have their place.
    pub(super) fn require<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), PageError> {
        let missing = names.into_iter().find(|name| parts(&self.pieces).all(|one| one != *name));
        missing.map_or(Ok(()), |name| Err(PageError::NoMarker(name.to_owned())))
    }

    /// Replaces a part.
    pub(super) fn put(&mut self, part: &str, with: &str) {
        for piece in &mut self.pieces {
            match piece {
                Piece::Part { name, text } if name == part => {
                    *text = format!("\n{}\n\n", with.trim());
                    self.put.insert(part.to_owned());
                }
                _ => {}
            }
        }
    }

    /// Parts that nothing was put into.
    pub(super) fn untouched(&self) -> impl Iterator<Item = &str> {
        parts(&self.pieces).filter(|name| !self.put.contains(*name))
    }

    /// Names of all parts.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        parts(&self.pieces)
    }

    pub(super) fn text(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Prose(text) => text.clone(),
            Piece::Part { name, text } => format!("<!-- {name} -->\n{text}<!-- /{name} -->\n"),
        };
        self.pieces.iter().map(piece).collect()
    }
}

fn parts(pieces: &[Piece]) -> impl Iterator<Item = &str> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Part { name, .. } => Some(name.as_str()),
        Piece::Prose(_) => None,
    })
}

enum Marker<'a> {
    Beginning(&'a str),
    End(&'a str),
}

fn marker(line: &str) -> Option<Marker<'_>> {
    let name = line.trim().strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    // Any other comment is prose.
    if name.contains(' ') {
        return None;
    }
    Some(name.strip_prefix('/').map_or(Marker::Beginning(name), Marker::End))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Costs\n\n<!-- calls -->\nold\n<!-- /calls -->\n\nprose\n\
                        <!-- memory -->\nkept\n<!-- /memory -->\n<!-- a remark -->\n";

    #[test]
    fn a_part_is_replaced_and_all_else_stays() {
        let mut page = Page::parse(PAGE).expect("a page");
        page.require(["calls", "memory"]).expect("both are there");
        page.put("calls", "new\n");
        assert_eq!(page.text(), PAGE.replace("old\n", "\nnew\n\n"));
        assert_eq!(page.untouched().collect::<Vec<_>>(), ["memory"]);
        let mut again = Page::parse(&page.text()).expect("still a page");
        again.put("calls", "new\n");
        assert_eq!(again.text(), page.text());
    }

    #[test]
    fn a_missing_marker_is_named() {
        let page = Page::parse(PAGE).expect("a page");
        assert_eq!(page.require(["calls", "client"]), Err(PageError::NoMarker("client".into())));
        let error = |text: &str| Page::parse(text).expect_err("no page");
        assert_eq!(error("<!-- a -->\n"), PageError::NoEnd("a".into()));
        assert_eq!(error("<!-- a -->\n<!-- b -->\n"), PageError::NoEnd("a".into()));
        assert_eq!(error("<!-- a -->\n<!-- /b -->\n"), PageError::NoEnd("a".into()));
        assert_eq!(error("<!-- /a -->\n"), PageError::NoBeginning("a".into()));
        let twice = "<!-- a -->\n<!-- /a -->\n<!-- a -->\n<!-- /a -->\n";
        assert_eq!(error(twice), PageError::Twice("a".into()));
    }
}
