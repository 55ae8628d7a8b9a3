//! liblzo2, the library that the original nodes use, loaded at run time: the judge of our streams.
//!
//! Where the machine has no `liblzo2.so.2` (Debian: `liblzo2-2`) its tests say so and pass, unless
//! `DHT_REQUIRE_LZO_ORACLE=1` asks for it.
#![allow(dead_code, reason = "the bench and each test use a part of it")]
#![allow(unsafe_code, reason = "functions of a C library")]

use std::ffi::{c_int, c_ulong, c_void};
use std::io::Write;
use std::sync::Mutex;

use libloading::Library;

/// `lzo1x_1_compress` and `lzo1x_decompress_safe` have the same type.
type Transform =
    unsafe extern "C" fn(*const u8, c_ulong, *mut u8, *mut c_ulong, *mut c_void) -> c_int;

/// Bytes of working memory for `lzo1x_1_compress`: 2^14 pointers.
const WORK_BYTES: usize = 16_384 * 8;

/// The loaded library.
pub(crate) struct Oracle {
    compress: Transform,
    decompress: Transform,
    /// `u64`s, because the library may keep pointers in it.
    work: Mutex<Vec<u64>>,
    /// The functions above live as long as this.
    _library: Library,
}

impl Oracle {
    /// The library, or `None` after a line that says what was skipped.
    pub(crate) fn load() -> Option<Self> {
        // SAFETY: loading runs the library's initialisers; liblzo2 has none that do anything.
        match unsafe { Library::new("liblzo2.so.2") } {
            Ok(library) => Some(Self::with(library)),
            Err(error) => {
                let required = std::env::var("DHT_REQUIRE_LZO_ORACLE").is_ok_and(|it| it == "1");
                assert!(!required, "DHT_REQUIRE_LZO_ORACLE=1, but: {error}");
                // Not `eprintln`, whose lines are kept from the user where a test passes.
                let _ = writeln!(std::io::stderr(), "skipped: liblzo2 not found");
                None
            }
        }
    }

    fn with(library: Library) -> Self {
        // SAFETY: both functions have this type in lzo1x.h; `lzo_uint` is `unsigned long` on
        // every Unix. The pointers are used no longer than `library`, which is kept beside them.
        let (compress, decompress) = unsafe {
            (
                *library.get::<Transform>(b"lzo1x_1_compress\0").unwrap(),
                *library.get::<Transform>(b"lzo1x_decompress_safe\0").unwrap(),
            )
        };
        let work = Mutex::new(vec![0; WORK_BYTES / 8]);
        Self { compress, decompress, work, _library: library }
    }

    /// Replaces `out` by the stream of `data`.
    pub(crate) fn compress(&self, data: &[u8], out: &mut Vec<u8>) {
        out.resize(data.len() + data.len() / 16 + 67, 0);
        let mut len = out.len() as c_ulong;
        let mut work = self.work.lock().unwrap();
        // SAFETY: both slices are valid for their lengths, `out` has the room that the library's
        // documentation asks for in the worst case, `work` has the size it asks for.
        let code = unsafe {
            (self.compress)(
                data.as_ptr(),
                data.len() as c_ulong,
                out.as_mut_ptr(),
                &mut len,
                work.as_mut_ptr().cast(),
            )
        };
        assert_eq!(code, 0, "lzo1x_1_compress does not fail");
        out.truncate(usize::try_from(len).unwrap());
    }

    /// The checking decompressor. Returns the length, or the library's error code.
    pub(crate) fn decompress(&self, stream: &[u8], out: &mut [u8]) -> Result<usize, c_int> {
        let mut len = out.len() as c_ulong;
        // SAFETY: both slices are valid for their lengths, and this function checks both.
        let code = unsafe {
            (self.decompress)(
                stream.as_ptr(),
                stream.len() as c_ulong,
                out.as_mut_ptr(),
                &mut len,
                std::ptr::null_mut(),
            )
        };
        if code == 0 { Ok(usize::try_from(len).unwrap()) } else { Err(code) }
    }
}
