"""What only the page at `/` needs: sample images of the models, and previews of images by URL."""
