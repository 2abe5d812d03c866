import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  plugins: [react()],
  // While you develop: the streams come from scripts/demo.
  server: { proxy: { '/events': 'http://127.0.0.1:8080' } },
});
