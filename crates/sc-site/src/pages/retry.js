(() => {
  const line = document.getElementById("retry");
  let wait = 400, tries = 0;
  const again = () => { wait = Math.min(wait * 1.5, 3000); setTimeout(probe, wait); };
  async function probe() {
    tries += 1;
    try {
      const answer = await fetch(location.href, { method: "HEAD", cache: "no-store", redirect: "manual" });
      if (!answer.headers.has("shimmercat-page")) {
        line.textContent = "It answers again. Reloading.";
        location.reload();
        return;
      }
      line.textContent = `Still waiting, tried ${tries} ${tries === 1 ? "time" : "times"}. This page reloads by itself.`;
    } catch {
      line.textContent = "The server itself cannot be reached. This page keeps trying.";
    }
    again();
  }
  setTimeout(probe, wait);
})();
