//! A browser that has the page of a node open.

use base64::Engine;
use dht_testkit::wait_for;
use serde_json::Value;

use crate::driver::{Browser, Device};
use crate::node::Node;

/// Texts with less contrast to what is behind them than WCAG AA asks for, 4.5 to 1.
const PALE_TEXTS: &str = r#"
const channels = (color) => color.match(/[\d.]+/g).map(Number);
const luminance = ([r, g, b]) => {
  const part = (n) => (n /= 255) <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4;
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const color = channels(getComputedStyle(element).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const pale = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const color = element instanceof SVGElement ? style.fill : style.color;
  const [a, b] = [luminance(channels(color)), luminance(behind(element))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) pale.push(`${element.tagName} ${element.textContent}: ${ratio}`);
}
return pale;"#;

/// See the module.
pub(crate) struct Page<'a> {
    pub(crate) browser: Browser,
    node: &'a Node,
    device: Device,
}

impl<'a> Page<'a> {
    /// Opens the page and waits for its first figures. None where there is no browser.
    pub(crate) fn open(node: &'a Node, device: Device) -> Option<Self> {
        let browser = Browser::start(device)?;
        // What the browser did before is not the page's.
        browser.open("about:blank");
        browser.requested();
        browser.console();
        browser.open(&format!("{}/", node.origin));
        let page = Self { browser, node, device };
        wait_for("the first figures", || page.texts("#glance dd").first().cloned());
        Some(page)
    }

    /// What elements show.
    pub(crate) fn texts(&self, css: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)";
        strings(&self.browser.run(script, &[css]))
    }

    /// What the only such element shows.
    pub(crate) fn text(&self, css: &str) -> String {
        let texts = self.texts(css);
        assert_eq!(texts.len(), 1, "{css}: {texts:?}");
        texts.into_iter().next().unwrap_or_default()
    }

    /// The cells of a table's body, row by row.
    pub(crate) fn rows(&self, body: &str) -> Vec<Vec<String>> {
        let script = "return [...document.querySelectorAll(arguments[0] + ' tr')]\
                      .map((row) => [...row.cells].map((cell) => cell.innerText))";
        let rows = self.browser.run(script, &[body]);
        rows.as_array().expect("rows").iter().map(strings).collect()
    }

    /// The value beside a name in a list of facts.
    pub(crate) fn fact(&self, list: &str, name: &str) -> Option<String> {
        let script = "const dt = [...document.querySelectorAll(arguments[0] + ' dt')]\
                      .find((dt) => dt.textContent === arguments[1]);\
                      return dt ? dt.nextElementSibling.innerText : null";
        self.browser.run(script, &[list, name]).as_str().map(str::to_owned)
    }

    /// Waits until a fact has a value.
    pub(crate) fn expect_fact(&self, list: &str, name: &str, value: &str) {
        let what = format!("{list} {name}: {value}");
        wait_for(&what, || (self.fact(list, name)? == value).then_some(()));
    }

    /// Waits until a table has a row that begins with these cells.
    pub(crate) fn expect_row(&self, body: &str, cells: &[&str]) {
        let what = format!("{body}: {cells:?}");
        let is_it = |row: &Vec<String>| row.len() >= cells.len() && row[..cells.len()] == *cells;
        wait_for(&what, || self.rows(body).iter().any(is_it).then_some(()));
    }

    /// An attribute of the only such element.
    pub(crate) fn attribute(&self, css: &str, name: &str) -> String {
        let script = "return document.querySelector(arguments[0]).getAttribute(arguments[1])";
        self.browser.run(script, &[css, name]).as_str().unwrap_or_default().to_owned()
    }

    /// The id of what has the focus; else its tag.
    pub(crate) fn focus(&self) -> String {
        let script = "const e = document.activeElement; return e.id || e.className || \
                      e.getAttribute('href') || e.tagName";
        self.browser.run(script, &[]).as_str().unwrap_or_default().to_owned()
    }

    /// Checks what holds for whatever the page shows: nothing came from elsewhere, nothing failed,
    /// nothing is cut off at the side or squeezed, all can be read.
    pub(crate) fn check(&self) {
        assert_eq!(self.browser.console(), Vec::<String>::new());
        let requested = self.browser.requested();
        assert!(requested.iter().any(|url| url.ends_with("/status.json")), "{requested:?}");
        for url in &requested {
            let is_ours = url.starts_with(&format!("{}/", self.node.origin));
            assert!(is_ours, "{url} is not the node's");
        }
        let script = "const { scrollWidth, clientWidth } = document.documentElement;\
                      return [scrollWidth, clientWidth, innerWidth]";
        let widths = self.browser.run(script, &[]);
        assert_eq!(widths[0], widths[1], "the page is wider than the {:?}", self.device);
        assert_eq!(widths[2], self.device.width, "{:?}", self.device);
        assert_eq!(self.browser.run(PALE_TEXTS, &[]), Value::Array(Vec::new()));
        let script = "return [...document.querySelectorAll('td.text')]\
                      .filter((cell) => cell.clientWidth && cell.clientWidth < 80)\
                      .map((cell) => cell.innerText)";
        assert_eq!(self.browser.run(script, &[]), Value::Array(Vec::new()), "squeezed texts");
        let script = "return getComputedStyle(document.body).backgroundColor";
        let back = self.browser.run(script, &[]);
        let is_dark = back.as_str().is_some_and(|color| color == "rgb(20, 23, 27)");
        assert_eq!(is_dark, self.device.is_dark, "{back}");
    }

    /// Takes a picture of so many pixels from an element on, if pictures are wanted.
    pub(crate) fn picture(&self, name: &str, css: &str, height: u32) {
        let Some(folder) = std::env::var_os("DHT_SCREENSHOTS") else { return };
        let script = "scrollTo(0, 0);\
                      return document.querySelector(arguments[0]).getBoundingClientRect().top";
        let top = self.browser.run(script, &[css]).as_f64().expect("a number");
        // Small, and still to be read.
        let scale = if self.device.is_phone { 1.0 } else { 0.625 };
        let data = self.browser.picture((top, self.device.width, height), scale);
        let png = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        std::fs::write(std::path::Path::new(&folder).join(name), png).unwrap();
    }
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
}
