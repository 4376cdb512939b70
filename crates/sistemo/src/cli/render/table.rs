//! Tables: columns padded to their longest cell and three spaces; the first, which holds names, is
//! at least ten wide, so that short names give the table of the design.
//!
//! Invariant: no line ends in a space; the header is there without rows too. All cells live in one
//! text, so that ten thousand rows take about a megabyte.

/// The least width of the first column.
const FIRST: usize = 10;

/// A table that is filled row by row.
pub struct Table {
    widths: Vec<usize>,
    text: String,
    ends: Vec<u32>,
}

impl Table {
    /// A table with these columns.
    pub fn new(header: &[&str]) -> Self {
        let mut table = Self { widths: vec![0; header.len()], text: String::new(), ends: Vec::new() };
        if let Some(first) = table.widths.first_mut() {
            *first = FIRST;
        }
        table.row(header);
        table
    }

    /// Adds a row; it has as many cells as the header.
    pub fn row(&mut self, cells: &[impl AsRef<str>]) {
        for (width, cell) in self.widths.iter_mut().zip(cells) {
            let cell = super::plain(cell.as_ref());
            *width = (*width).max(cell.chars().count());
            self.text.push_str(&cell);
            // Four gigabytes of cells are not shown to anybody.
            self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        }
    }

    /// Gives each line to `line`.
    pub fn lines<E>(&self, mut line: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        let mut out = String::new();
        let mut from = 0;
        for row in self.ends.chunks(self.widths.len()) {
            out.clear();
            for (&end, width) in row.iter().zip(&self.widths) {
                let cell = &self.text[from..end as usize];
                from = end as usize;
                out.push_str(cell);
                let pad = width + 3 - cell.chars().count();
                out.extend(std::iter::repeat_n(' ', pad));
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
            line(&out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table) -> String {
        let mut out = String::new();
        let written: Result<(), ()> = table.lines(|l| {
            out.push_str(l);
            Ok(())
        });
        written.unwrap();
        out
    }

    #[test]
    fn looks_like_the_design() {
        let mut table = Table::new(&["NAME", "SIZE", "STATUS", "ATTACHED TO", "TYPE"]);
        table.row(&["web-root", "5.0GB", "attached", "web", "root"]);
        table.row(&["appdata", "2.0GB", "attached", "web", "data"]);
        table.row(&["pgbackup", "1.0GB", "detached", "-", "data"]);
        let expected = "\
NAME         SIZE    STATUS     ATTACHED TO   TYPE
web-root     5.0GB   attached   web           root
appdata      2.0GB   attached   web           data
pgbackup     1.0GB   detached   -             data
";
        assert_eq!(text(&table), expected);
    }

    #[test]
    fn an_empty_table_has_its_header() {
        assert_eq!(text(&Table::new(&["NAME", "SIZE"])), "NAME         SIZE\n");
    }

    #[test]
    fn nothing_in_a_cell_is_obeyed() {
        let mut table = Table::new(&["A"]);
        table.row(&["\u{1b}[2Jx\ny"]);
        assert_eq!(text(&table), "A\n\u{fffd}[2Jx\u{fffd}y\n");
    }
}
