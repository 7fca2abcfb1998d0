//! The kernel's random numbers.

use std::io;

/// Fills `buffer` with random bytes fit for keys (`getrandom(2)`).
///
/// Blocks only during early boot, until the kernel's generator is seeded.
pub fn fill(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // SAFETY: getrandom(2) writes at most `rest.len()` bytes into an exclusively borrowed
        // slice.
        let length = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if length >= 0 {
            filled += length as usize;
        } else {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_everything_and_never_the_same_twice() {
        let (mut one, mut two) = ([0_u8; 1000], [0_u8; 1000]);
        fill(&mut one).unwrap();
        fill(&mut two).unwrap();
        assert_ne!(one, two);
        // 40 equal bytes in a row at the end would mean the tail was not written.
        assert!(one[960..].iter().any(|byte| *byte != 0));
        fill(&mut []).unwrap();
    }
}
