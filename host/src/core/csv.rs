//! Tables as CSV, as RFC 4180 has it: UTF-8, a comma between two cells, CR LF behind each row, and a cell in double
//! quotes if it holds a comma, a quote or the end of a line. Nothing is changed for the sake of spreadsheets: what
//! begins like a formula is written as it is stored.

/// Appends `cell` to the row that `out` ends with; `first` if it is the row's first.
pub fn write_cell(out: &mut Vec<u8>, cell: &[u8], first: bool) {
    if !first {
        out.push(b',');
    }
    // A row of one empty cell would be an empty line, which readers pass over.
    let is_line = first && cell.is_empty();
    if !is_line && !cell.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
        out.extend_from_slice(cell);
        return;
    }
    out.push(b'"');
    for byte in cell {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Ends the row.
pub fn end_row(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole row.
pub fn write_row<'c>(out: &mut Vec<u8>, cells: impl IntoIterator<Item = &'c [u8]>) {
    for (at, cell) in cells.into_iter().enumerate() {
        write_cell(out, cell, at == 0);
    }
    end_row(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    // Cells that need quotes get them, and no others.
    #[test]
    fn rows() {
        let mut out = Vec::new();
        let cells: [&[u8]; 6] = [b"", b"plain text", b"a,b", b"say \"x\"", b"two\r\nlines", b"=1+1"];
        write_row(&mut out, cells);
        let expected = "\"\",plain text,\"a,b\",\"say \"\"x\"\"\",\"two\r\nlines\",=1+1\r\n";
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }
}
