"""What is made of a saliency map: objects (numbers), finishing (alpha), rendering (drawing, files), colours (depth)."""
