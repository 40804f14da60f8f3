// Browsers start no worker from a folder of files. The search's script runs in a hidden frame there, and does not notice.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #frame = document.createElement("iframe");
    #early = [];

    constructor(script) {
      super();
      this.#frame.hidden = true;
      this.#frame.addEventListener("load", () => this.#start(script), { once: true });
      document.body.append(this.#frame);
    }

    postMessage(data) {
      if (this.#early) this.#early.push(data);
      else this.#frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    #start(script) {
      const inside = this.#frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const tag = inside.document.createElement("script");
      tag.addEventListener("load", () => {
        const early = this.#early;
        this.#early = null;
        early.forEach((data) => this.postMessage(data));
      });
      tag.src = script;
      inside.document.body.append(tag);
    }
  };
}
