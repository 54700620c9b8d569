//! What is wanted of a compression.
//!
//! In: a method's name and its detail, as text. Out: a method with parameters that it has, or the words that say
//! what is wrong. A specification says what the library of the method is asked for, not that it will do it.

#[cfg(any(feature = "gzip", feature = "lz4", feature = "zstd"))]
use super::error::CompressError;
use super::error::InvalidCompression;
use super::integer;
use super::method::Method;

/// What is wanted of a compression: a method and its parameters, known to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionSpec {
    /// How.
    pub method: Method,
    /// The level in the method's own scale; none is its default.
    pub level: Option<i32>,
    /// Threads of the zstd library; 0 is no thread of its own, and none leaves it to the encoder.
    pub workers: Option<u32>,
    /// Long-distance matching of zstd.
    pub long_distance: bool,
}

impl CompressionSpec {
    /// The method with its defaults.
    pub const fn of(method: Method) -> Self {
        Self { method, level: None, workers: None, long_distance: false }
    }

    /// Reads a method and its detail (`-Z METHOD[:DETAIL]`); `none` is no compression (BB-024, BB-028).
    ///
    /// The detail is a level, or items with commas between them: `level=INT`, `workers=INT` and `long[=BOOL]`. Of
    /// an item that is there twice the last counts, of several mistakes the first is told. An integer is what
    /// `strtol` takes for one; beyond 32 bits it is the nearest number within, where `pg_basebackup` drops the
    /// high bits. A negative number of workers is none, as the library has it.
    pub fn parse(method: &str, detail: Option<&str>) -> Result<Option<Self>, InvalidCompression> {
        let known = Method::from_name(method);
        if known.is_none() && method != "none" {
            return Err(InvalidCompression::UnknownMethod(method.to_owned()));
        }
        let detail = detail.map_or(Ok(Detail::default()), Detail::parse)?;
        match known {
            Some(method) => detail.of_method(method).map(Some),
            None => detail.of_none().map(|()| None),
        }
    }

    /// The level if it is not the default, known to be one that the method has: a specification that was not read
    /// can say anything.
    #[cfg(any(feature = "gzip", feature = "lz4", feature = "zstd"))]
    pub(super) fn checked_level(&self) -> Result<Option<i32>, CompressError> {
        let levels = Levels::of(self.method);
        match self.level {
            Some(level) if !levels.include(level) => {
                Err(CompressError::Codec(format!("{} has no level {level}", self.method)))
            }
            level => Ok(level.filter(|&level| level != levels.alias)),
        }
    }
}

/// What a detail says, whatever the method.
#[derive(Default)]
struct Detail {
    level: Option<i32>,
    workers: Option<i32>,
    long_distance: Option<bool>,
}

impl Detail {
    fn parse(text: &str) -> Result<Self, InvalidCompression> {
        let mut detail = Self::default();
        if let Some(level) = integer::parse(text) {
            detail.level = Some(level);
            return Ok(detail);
        }
        for item in text.split(',') {
            let (keyword, value) = match item.split_once('=') {
                Some((keyword, value)) => (keyword, Some(value)),
                None => (item, None),
            };
            match keyword {
                "" => return Err(wrong("found empty string where a compression option was expected")),
                "level" => detail.level = Some(integer_of(keyword, value)?),
                "workers" => detail.workers = Some(integer_of(keyword, value)?),
                "long" => detail.long_distance = Some(boolean_of(keyword, value)?),
                _ => return Err(wrong(format!("unrecognized compression option: \"{keyword}\""))),
            }
        }
        Ok(detail)
    }

    fn of_method(self, method: Method) -> Result<CompressionSpec, InvalidCompression> {
        let levels = Levels::of(method);
        if self.level.is_some_and(|level| !levels.include(level)) {
            let Levels { lowest, highest, default, .. } = levels;
            return Err(wrong(format!(
                "compression algorithm \"{method}\" expects a compression level between {lowest} and {highest} \
                 (default at {default})"
            )));
        }
        if method != Method::Zstd {
            self.without_parameters_of_zstd(method.name())?;
        }
        if !method.is_built() {
            return Err(wrong(format!(
                "this build does not support compression with {}",
                method.proper_name()
            )));
        }
        Ok(CompressionSpec {
            method,
            level: self.level.filter(|&level| level != levels.alias),
            workers: self.workers.map(|workers| u32::try_from(workers).unwrap_or(0)),
            long_distance: self.long_distance == Some(true),
        })
    }

    fn of_none(self) -> Result<(), InvalidCompression> {
        if self.level.is_some_and(|level| level != 0) {
            return Err(wrong("compression algorithm \"none\" does not accept a compression level"));
        }
        self.without_parameters_of_zstd("none")
    }

    fn without_parameters_of_zstd(&self, method: &str) -> Result<(), InvalidCompression> {
        if self.workers.is_some() {
            return Err(wrong(format!("compression algorithm \"{method}\" does not accept a worker count")));
        }
        if self.long_distance.is_some() {
            return Err(wrong(format!(
                "compression algorithm \"{method}\" does not support long-distance mode"
            )));
        }
        Ok(())
    }
}

/// The levels of a method.
struct Levels {
    lowest: i32,
    highest: i32,
    /// What messages call the default.
    default: i32,
    /// What is taken for "the default" although it may be no level.
    alias: i32,
}

impl Levels {
    const fn of(method: Method) -> Self {
        match method {
            Method::Gzip => Self { lowest: 1, highest: 9, default: -1, alias: -1 },
            Method::Lz4 => Self { lowest: 1, highest: 12, default: 0, alias: 0 },
            Method::Zstd => Self { lowest: -131_072, highest: 22, default: 3, alias: 0 },
        }
    }

    fn include(&self, level: i32) -> bool {
        level == self.alias || (self.lowest..=self.highest).contains(&level)
    }
}

fn integer_of(keyword: &str, value: Option<&str>) -> Result<i32, InvalidCompression> {
    let value = value.ok_or_else(|| wrong(format!("compression option \"{keyword}\" requires a value")))?;
    integer::parse(value)
        .ok_or_else(|| wrong(format!("value for compression option \"{keyword}\" must be an integer")))
}

fn boolean_of(keyword: &str, value: Option<&str>) -> Result<bool, InvalidCompression> {
    let Some(value) = value else { return Ok(true) };
    let is_one_of = |words: [&str; 3]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is_one_of(["yes", "on", "1"]) {
        Ok(true)
    } else if is_one_of(["no", "off", "0"]) {
        Ok(false)
    } else {
        Err(wrong(format!("value for compression option \"{keyword}\" must be a Boolean value")))
    }
}

fn wrong(text: impl Into<String>) -> InvalidCompression {
    InvalidCompression::Detail(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GZIP: CompressionSpec = CompressionSpec::of(Method::Gzip);
    const LZ4: CompressionSpec = CompressionSpec::of(Method::Lz4);
    const ZSTD: CompressionSpec = CompressionSpec::of(Method::Zstd);

    #[test]
    #[cfg(all(feature = "gzip", feature = "lz4", feature = "zstd"))]
    fn bb_024_a_detail_is_a_level_or_a_list_of_which_the_last_counts() {
        for (method, detail, expected) in [
            ("gzip", None, GZIP),
            ("gzip", Some("9"), CompressionSpec { level: Some(9), ..GZIP }),
            ("gzip", Some("\t+1"), CompressionSpec { level: Some(1), ..GZIP }),
            ("gzip", Some("-1"), GZIP),
            ("gzip", Some("level= 5"), CompressionSpec { level: Some(5), ..GZIP }),
            ("gzip", Some("level=10,level=5"), CompressionSpec { level: Some(5), ..GZIP }),
            ("lz4", Some("0"), LZ4),
            ("lz4", Some("level=12"), CompressionSpec { level: Some(12), ..LZ4 }),
            ("zstd", Some("0"), ZSTD),
            ("zstd", Some("22"), CompressionSpec { level: Some(22), ..ZSTD }),
            ("zstd", Some("-131072"), CompressionSpec { level: Some(-131_072), ..ZSTD }),
            ("zstd", Some("workers=2"), CompressionSpec { workers: Some(2), ..ZSTD }),
            ("zstd", Some("workers=-2"), CompressionSpec { workers: Some(0), ..ZSTD }),
            ("zstd", Some("long"), CompressionSpec { long_distance: true, ..ZSTD }),
            ("zstd", Some("long=oN"), CompressionSpec { long_distance: true, ..ZSTD }),
            ("zstd", Some("long=YES"), CompressionSpec { long_distance: true, ..ZSTD }),
            ("zstd", Some("long=1"), CompressionSpec { long_distance: true, ..ZSTD }),
            ("zstd", Some("long=Off"), ZSTD),
            ("zstd", Some("long=nO"), ZSTD),
            ("zstd", Some("long=0"), ZSTD),
            (
                "zstd",
                Some("long,workers=1,long=no,level=3,workers=4"),
                CompressionSpec { level: Some(3), workers: Some(4), ..ZSTD },
            ),
        ] {
            assert_eq!(CompressionSpec::parse(method, detail), Ok(Some(expected)), "{method}:{detail:?}");
        }
        for detail in [None, Some("0"), Some("level=0"), Some("level=1,level=0")] {
            assert_eq!(CompressionSpec::parse("none", detail), Ok(None), "none:{detail:?}");
        }
    }

    #[test]
    fn bb_026_and_028_a_wrong_specification_is_told_in_the_words_of_pg_basebackup() {
        for (method, detail, expected) in [
            ("", "", "unrecognized compression algorithm: \"\""),
            ("GZIP", "level=x", "unrecognized compression algorithm: \"GZIP\""),
            ("gzip ", "5", "unrecognized compression algorithm: \"gzip \""),
            ("gzip", "", "found empty string where a compression option was expected"),
            ("none", "level=0,", "found empty string where a compression option was expected"),
            ("zstd", ",level=x", "found empty string where a compression option was expected"),
            ("lz4", "=5", "found empty string where a compression option was expected"),
            ("gzip", "5 ", "unrecognized compression option: \"5 \""),
            ("gzip", "level=1,5", "unrecognized compression option: \"5\""),
            ("gzip", " level=1", "unrecognized compression option: \" level\""),
            ("gzip", "Level=1", "unrecognized compression option: \"Level\""),
            ("zstd", "foo=1,level", "unrecognized compression option: \"foo\""),
            ("zstd", "level=99,wörk", "unrecognized compression option: \"wörk\""),
            ("zstd", "level,foo", "compression option \"level\" requires a value"),
            ("gzip", "workers", "compression option \"workers\" requires a value"),
            ("gzip", "level=", "value for compression option \"level\" must be an integer"),
            ("gzip", "level=5 ", "value for compression option \"level\" must be an integer"),
            ("gzip", "level==5", "value for compression option \"level\" must be an integer"),
            ("none", "workers=x", "value for compression option \"workers\" must be an integer"),
            ("none", "long=", "value for compression option \"long\" must be a Boolean value"),
            ("zstd", "long=true", "value for compression option \"long\" must be a Boolean value"),
            ("zstd", "long= 1", "value for compression option \"long\" must be a Boolean value"),
            ("none", "1", "compression algorithm \"none\" does not accept a compression level"),
            (
                "none",
                "workers=1,level=1",
                "compression algorithm \"none\" does not accept a compression level",
            ),
            ("none", "workers=0", "compression algorithm \"none\" does not accept a worker count"),
            ("none", "long=off", "compression algorithm \"none\" does not support long-distance mode"),
            ("gzip", "0", GZIP_LEVELS),
            ("gzip", "-2", GZIP_LEVELS),
            ("gzip", "workers=2,level=10", GZIP_LEVELS),
            ("gzip", "4294967297", GZIP_LEVELS),
            ("gzip", "99999999999999999999", GZIP_LEVELS),
            (
                "lz4",
                "13",
                "compression algorithm \"lz4\" expects a compression level between 1 and 12 (default at 0)",
            ),
            (
                "lz4",
                "-1",
                "compression algorithm \"lz4\" expects a compression level between 1 and 12 (default at 0)",
            ),
            ("zstd", "23", ZSTD_LEVELS),
            ("zstd", "level=-131073,long", ZSTD_LEVELS),
            ("gzip", "long,workers=1", "compression algorithm \"gzip\" does not accept a worker count"),
            ("lz4", "workers=0", "compression algorithm \"lz4\" does not accept a worker count"),
            ("lz4", "long=no", "compression algorithm \"lz4\" does not support long-distance mode"),
        ] {
            let error = CompressionSpec::parse(method, Some(detail)).unwrap_err().to_string();
            let expected = if expected.starts_with("unrecognized compression algorithm") {
                expected.to_owned()
            } else {
                format!("invalid compression specification: {expected}")
            };
            assert_eq!(error, expected, "{method}:{detail}");
        }
    }

    const GZIP_LEVELS: &str =
        "compression algorithm \"gzip\" expects a compression level between 1 and 9 (default at -1)";
    const ZSTD_LEVELS: &str =
        "compression algorithm \"zstd\" expects a compression level between -131072 and 22 (default at 3)";

    #[test]
    fn bb_028_a_method_that_is_not_built_in_is_refused_last() {
        for (method, expected) in [(Method::Gzip, GZIP), (Method::Lz4, LZ4), (Method::Zstd, ZSTD)] {
            let result = CompressionSpec::parse(method.name(), None);
            if method.is_built() {
                assert_eq!(result, Ok(Some(expected)));
            } else {
                let text = format!(
                    "invalid compression specification: this build does not support compression with {}",
                    method.proper_name()
                );
                assert_eq!(result.unwrap_err().to_string(), text);
            }
            let wrong = CompressionSpec::parse(method.name(), Some("level=99")).unwrap_err().to_string();
            assert!(wrong.contains("expects a compression level"), "{wrong}");
        }
    }
}
