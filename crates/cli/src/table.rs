//! Aligned columns.

use crate::terminal::Style;

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// Columns with larger numbers are left out first when the terminal is too narrow; those with
    /// 0 stay.
    pub(crate) expendable: u8,
}

/// Text, and how to paint it once it is padded.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    paint: Option<fn(Style, &str) -> String>,
}

/// Rows under a heading. Columns that are empty in every row are left out.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell; N]>,
}

impl Cell {
    pub(crate) fn painted(text: impl Into<String>, paint: fn(Style, &str) -> String) -> Self {
        Self { text: text.into(), paint: Some(paint) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), paint: None }
    }
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Renders it, at most `width` columns wide if that can be had by leaving columns out.
    pub(crate) fn render(&self, width: Option<usize>, style: Style) -> String {
        let kept = self.kept(width);
        let mut text = String::new();
        let heading: Vec<_> =
            kept.iter().map(|(column, width)| (Cell::from(column.name), *width)).collect();
        push_line(&mut text, &heading, style, |text| style.heading(text));
        for row in &self.rows {
            let cells: Vec<_> = row
                .iter()
                .zip(&self.columns)
                .filter_map(|(cell, column)| {
                    let kept = kept.iter().find(|(kept, _)| kept.name == column.name);
                    kept.map(|(_, width)| (cell.clone(), *width))
                })
                .collect();
            push_line(&mut text, &cells, style, str::to_owned);
        }
        text
    }

    /// The columns that are shown, and how wide each is.
    fn kept(&self, limit: Option<usize>) -> Vec<(Column, usize)> {
        let widest = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(Cell::width);
            let widest = cells.max().unwrap_or(0);
            let shown = widest > 0 || column.expendable == 0;
            shown.then_some((*column, widest.max(column.name.len())))
        };
        let mut kept: Vec<_> = self.columns.iter().enumerate().filter_map(widest).collect();
        while let Some(limit) = limit {
            let total = kept.iter().map(|(_, width)| width + GAP.len()).sum::<usize>();
            let spare = kept.iter().map(|(column, _)| column.expendable).max().unwrap_or(0);
            if total.saturating_sub(GAP.len()) <= limit || spare == 0 {
                break;
            }
            kept.retain(|(column, _)| column.expendable != spare);
        }
        kept
    }
}

const GAP: &str = "  ";

fn push_line(
    text: &mut String,
    cells: &[(Cell, usize)],
    style: Style,
    default: impl Fn(&str) -> String,
) {
    let mut pending = String::new();
    for (cell, width) in cells {
        if cell.text.is_empty() {
            pending.push_str(&" ".repeat(width + GAP.len()));
            continue;
        }
        text.push_str(&pending);
        text.push_str(&match cell.paint {
            Some(paint) => paint(style, &cell.text),
            None => default(&cell.text),
        });
        // Nothing trails the last cell.
        pending = " ".repeat(width.saturating_sub(cell.width()) + GAP.len());
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<4> {
        let column = |name, expendable| Column { name, expendable };
        let columns =
            [column("NAME", 0), column("STATE", 0), column("LONG", 2), column("EMPTY", 1)];
        let mut table = Table::new(columns);
        table.push(["eth0".into(), "bound".into(), "0123456789".into(), "".into()]);
        let bold = |style: Style, text: &str| style.heading(text);
        table.push(["enp0s31f6".into(), Cell::painted("up", bold), "".into(), "".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let expected = "\
NAME       STATE  LONG
eth0       bound  0123456789
enp0s31f6  up
";
        assert_eq!(table().render(None, Style::PLAIN), expected);
        assert_eq!(table().render(Some(28), Style::PLAIN), expected);
    }

    #[test]
    fn a_narrow_terminal_loses_columns_and_no_row_wraps() {
        let expected = "\
NAME       STATE
eth0       bound
enp0s31f6  up
";
        assert_eq!(table().render(Some(27), Style::PLAIN), expected);
        assert_eq!(table().render(Some(3), Style::PLAIN), expected);
    }

    #[test]
    fn paint_does_not_count_for_the_width() {
        let text = table().render(Some(20), Style::COLOUR);
        assert!(text.ends_with("enp0s31f6  \x1b[1mup\x1b[0m\n"), "{text:?}");
        assert!(text.starts_with("\x1b[1mNAME\x1b[0m       \x1b[1mSTATE\x1b[0m\n"), "{text:?}");
    }
}
