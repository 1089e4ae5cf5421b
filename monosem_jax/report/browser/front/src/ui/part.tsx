// A part of a page that can fail by itself: a file that is missing is named, and the rest of the page stays.

import { Component, type ComponentChildren } from "preact";
import { visible } from "../text.ts";

export class Part extends Component<{ children: ComponentChildren }, { error: Error | null }> {
  state = { error: null as Error | null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  render() {
    const { error } = this.state;
    return error ? <p class="problem" role="alert">{visible(error.message)}.</p> : this.props.children;
  }
}
