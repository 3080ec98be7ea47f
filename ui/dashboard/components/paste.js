// An image pasted anywhere on the page becomes the query. Text that is pasted is left alone.
export default function (component) {
  const { data, setTriggerValue } = component;
  const most = data.megabytes * 1024 * 1024;

  function pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    const file = files.find((one) => one.type.startsWith("image/") || /\.dcm$/i.test(one.name));
    if (!file) return;
    event.preventDefault();
    if (file.size > most) {
      setTriggerValue("pasted", { name: file.name, size: file.size });
      return;
    }
    const reader = new FileReader();
    reader.onload = () => {
      const bytes = reader.result.slice(reader.result.indexOf(",") + 1);
      setTriggerValue("pasted", { name: file.name, size: file.size, data: bytes });
    };
    reader.readAsDataURL(file);
  }

  // The page is drawn again and again: one listener only.
  if (window.cxrPaste) document.removeEventListener("paste", window.cxrPaste);
  window.cxrPaste = pasted;
  document.addEventListener("paste", pasted);
  return () => {
    document.removeEventListener("paste", pasted);
    if (window.cxrPaste === pasted) window.cxrPaste = undefined;
  };
}
