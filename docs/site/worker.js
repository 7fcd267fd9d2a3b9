// Browsers refuse workers to pages that are opened from the disk. Here the search's script runs in a hidden frame instead.
// As between a page and a worker, each side gets a copy of a message: the search changes the query that it is sent.
if (location.protocol === "file:") {
  window.Worker = class {
    onmessage = null;
    onerror = null;
    #waiting = [];
    #frame = document.createElement("iframe");

    constructor(address) {
      this.#frame.hidden = true;
      document.body.append(this.#frame);
      const inside = this.#frame.contentWindow;
      inside.postMessage = (message) => {
        const data = structuredClone(message);
        setTimeout(() => this.onmessage?.({ data }));
      };
      const script = inside.document.createElement("script");
      script.src = address;
      script.onerror = (event) => this.onerror?.(event);
      script.onload = () => {
        const waiting = this.#waiting;
        this.#waiting = null;
        waiting.forEach((data) => this.#deliver(data));
      };
      inside.document.head.append(script);
    }

    postMessage(message) {
      const data = structuredClone(message);
      if (this.#waiting) this.#waiting.push(data);
      else this.#deliver(data);
    }

    #deliver(data) {
      setTimeout(() => this.#frame.contentWindow?.onmessage?.({ data }));
    }

    terminate() {
      this.#frame.remove();
    }
  };
}
