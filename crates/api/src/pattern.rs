//! Interface patterns.

/// Whether `name` is matched by `pattern`, in which `*` stands for any number of characters and
/// `?` for one. A pattern without either is a name.
///
/// Takes time proportional to the product of both lengths at worst, and no memory.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // What to try next when the present attempt fails: the last star takes one more character.
    let mut retry = None;
    loop {
        let matched = match (pattern.next(), name.clone().next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                retry = Some((pattern.clone(), name.clone()));
                continue;
            }
            (Some('?'), Some(_)) => true,
            (Some(expected), Some(found)) => expected == found,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if matched {
            name.next();
            continue;
        }
        let Some((after_star, taken)) = &mut retry else { return false };
        if taken.next().is_none() {
            return false;
        }
        pattern = after_star.clone();
        name = taken.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_is_any_number_and_question_mark_is_one() {
        for (pattern, name) in [
            ("eth0", "eth0"),
            ("eth*", "eth0"),
            ("eth*", "eth"),
            ("*", ""),
            ("*", "eth0"),
            ("e*0", "eth0"),
            ("*a*b", "aab.ab"),
            ("eth?", "eth0"),
            ("??", "lo"),
            ("v**t", "veth-t"),
            ("é?", "éa"),
        ] {
            assert!(matches(pattern, name), "{pattern} should match {name}");
        }
        for (pattern, name) in [
            ("eth0", "eth1"),
            ("eth0", "eth00"),
            ("eth?", "eth"),
            ("eth?", "eth10"),
            ("", "eth0"),
            ("*a", "ab"),
            ("?*", ""),
            ("ETH0", "eth0"),
        ] {
            assert!(!matches(pattern, name), "{pattern} should not match {name}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        assert!(!matches(&"*a".repeat(500), &"a".repeat(499)));
    }
}
